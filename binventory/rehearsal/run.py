"""The rehearsal: from an empty machine to counted photos, and back to an empty machine."""

from __future__ import annotations

from binventory import executions
from binventory.core.aws import connect
from binventory.core.beside import beside
from binventory.core.errors import Problem
from binventory.core.journal import Journal
from binventory.deployment.cdk import Cdk
from binventory.rehearsal import auditing, ending, folder, leftovers, source
from binventory.rehearsal.result import Options, Result
from binventory.rehearsal.steps import Steps
from local_aws.server import LocalAws, LocalAwsError

BEFORE = ("Start the local AWS", "Bootstrap", "Deploy", "Fill the photo bucket", "Pipeline")
AFTER = (
    "Approve and promote",
    "Count test photos",
    "Compare with evaluation",
    "Audit by transform job",
    "Destroy",
    "Prove that nothing is left",
)


def rehearse(options: Options, journal: Journal, result: Result | None = None) -> Result:
    """Runs the steps. Nothing is left running, also after a failure, unless `keep` is set.

    `result` is filled step by step: pass one to see the results of a rehearsal that fails.
    """
    return _Rehearsal(options, journal, Result() if result is None else result).run()


class _Rehearsal(Steps):
    """The steps in their order, and those that only the local AWS has."""

    def __init__(self, options: Options, journal: Journal, result: Result) -> None:
        super().__init__(options, journal, result)
        self.local = LocalAws(options.state_dir / "aws", keep=options.keep, enforce_iam=options.enforce_iam)
        folder.claim(options.state_dir, folder.Record(self.local.port, self.names.prefix, options.enforce_iam))
        self.logs.mkdir(exist_ok=True)
        journal.plan(*BEFORE)
        journal.plan(*executions.STEPS, level=1)
        journal.plan(*(AFTER[:4] if options.keep else AFTER))

    def run(self) -> Result:
        """All steps; the clean-up runs even after Ctrl-C."""
        succeeded = False
        try:
            self.start()
            # Photos need no stack: they are rendered while the CDK's command line waits for CloudFormation.
            with beside(self.fill) as filling:
                self.bootstrap()
                self.deploy()
                found = filling.result()
            self.learn(found)
            self.promote()
            self.count()
            self.compare()
            self.audit()
            if self.options.keep:
                self.result.kept = folder.write_exports(self.options.state_dir, self.local.environment())
            else:
                self.destroy()
            succeeded = True
            return self.result
        except LocalAwsError as error:
            raise Problem(
                "The local AWS failed",
                str(error).splitlines()[0],
                f"read its whole log, {folder.LOCAL_LOG}",
                log=tuple(str(error).splitlines()[1:]),
            ) from error
        finally:
            self.journal.skip_waiting()
            if not (succeeded and self.options.keep):
                self.local.stop()
                folder.clear(self.options.state_dir, keep_logs=not succeeded)

    def reclaim(self, job: str) -> None:
        """Interrupts the spot capacity of a training job."""
        self.local.administer("sagemaker/reclaim", {"TrainingJobName": job})

    def start(self) -> None:
        """The local AWS."""
        with self.journal.step(BEFORE[0]) as entry:
            self.local.start()
            environment = self.local.environment()
            self.aws = connect(environment)
            # The local AWS checks each request itself; the validator of templates takes longer than the synthesis.
            environment = environment | {"CDK_VALIDATION": "false"}
            self.cdk = Cdk(
                self.options.repository, self.options.state_dir / "assembly", self.logs / "cdk.log", environment
            )
            self.journal.note(entry, self.local.endpoint_url)

    def bootstrap(self) -> None:
        """What `cdk deploy` needs in an account."""
        with self.journal.step("Bootstrap") as entry:
            self.cdk.bootstrap(self.local.account, self.local.region, self.say(entry))
            self.journal.note(entry, "CDKToolkit")

    def audit(self) -> None:
        """The counted photos by Batch Transform, which must agree with the endpoint."""
        with self.journal.step("Audit by transform job") as entry:
            records = [
                auditing.Record(item.image_id, item.recorded, self.keys[item.image_id]) for item in self.result.counted
            ]
            source_uri = f"s3://{source.PUBLIC_BUCKET}/"
            audited = auditing.audit(self.aws, self.names, source_uri, records, self.options.state_dir / "audit")
            likely = {found.image_id: found.likely for found in audited}
            differing = [item.image_id for item in self.result.counted if item.differs_from(likely[item.image_id])]
            if differing:
                raise Problem(
                    "The transform job and the endpoint disagree",
                    f"it differs on {', '.join(differing)}",
                    "both run one image and one artefact: look at which package each was given",
                )
            self.result.audited = audited
            worst = audited[0]
            self.journal.note(
                entry,
                f"{len(audited)} events received, worst {worst.image_id}: recorded {worst.recorded} has "
                f"probability {worst.recorded_probability:.2f}",
            )

    def destroy(self) -> None:
        """Deletes everything, and looks for leftovers."""
        with self.journal.step("Destroy") as entry:
            self.cdk.destroy(self.say(entry))
            self.journal.note(entry, "source bucket and bootstrap stack")
            ending.empty(self.aws, source.PUBLIC_BUCKET)
            ending.unbootstrap(self.aws)
            self.journal.note(entry, "stacks, source bucket and bootstrap stack deleted")
        with self.journal.step(AFTER[-1]) as entry:
            in_account = leftovers.in_account(self.aws)
            if not in_account.none:
                raise ending.left(in_account)
            self.local.stop()
            on_machine = leftovers.on_machine(self.options.state_dir, self.local.port, self.names.prefix)
            if not on_machine.none:
                raise ending.left(on_machine)
            self.result.checked = f"{in_account.checked}, {on_machine.checked}"
            self.journal.note(entry, f"none of: {self.result.checked}")
