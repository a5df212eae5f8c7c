"""Our rules as a CDK validation plugin: public rule packs check little of SageMaker and no pipeline step."""

from __future__ import annotations

import aws_cdk as cdk
import jsii

from stacks.policies import billing, iam, images, jobs, serving, storage
from stacks.policies.assembly import Assembly
from stacks.policies.rule import Finding, Rule


def all_rules() -> tuple[Rule, ...]:
    """Every rule, by its id."""
    groups = (billing, iam, images, jobs, serving, storage)
    return tuple(sorted((rule for group in groups for rule in group.RULES), key=lambda rule: rule.id))


@jsii.implements(cdk.IPolicyValidationPlugin)
class BinventoryPolicies:
    """Runs every rule over the synthesized templates."""

    @property
    def name(self) -> str:
        """Name in the validation report."""
        return "Binventory"

    @property
    def version(self) -> str:
        """Version in the validation report."""
        return "1.0.0"

    @property
    def rule_ids(self) -> list[str]:
        """The ids of the rules."""
        return [rule.id for rule in all_rules()]

    def validate(self, context: cdk.IPolicyValidationContext) -> cdk.PolicyValidationPluginReport:
        """The findings, as the CDK reports them."""
        templates = [(stack.stack_construct_path, stack.template_path) for stack in context.stack_templates]
        assembly = Assembly.read(templates)
        violations = [_violation(rule, findings) for rule in all_rules() if (findings := list(rule.find(assembly)))]
        return cdk.PolicyValidationPluginReport(success=not violations, violations=violations)


def _violation(rule: Rule, findings: list[Finding]) -> cdk.PolicyViolation:
    details = "; ".join(f"{finding.where} is {finding.detail}" for finding in findings)
    return cdk.PolicyViolation(
        rule_name=rule.id,
        description=f"{rule.why} Found: {details}",
        fix=f"{rule.fix} See {rule.link}",
        severity="error",
        violating_resources=[
            cdk.PolicyViolatingResource(
                locations=[finding.where],
                resource_logical_id=finding.resource.logical_id,
                template_path=str(finding.resource.template.path),
            )
            for finding in findings
        ],
    )
