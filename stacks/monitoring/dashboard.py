"""The dashboard, in the order of the questions: is it up, is it right, what does it cost, should it be retrained?"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from stacks.names import command_of
from stacks.settings import Settings
from stacks.vocabulary import CLASSES

MONITORING = "Binventory/Monitoring"
ENDPOINT = "Binventory/Endpoint"
_WIDTH = 24
_HEIGHT = 6
_MICROSECONDS = 1000

_Widgets = Sequence[cloudwatch.IWidget]


class Dashboard(Construct):
    """The dashboard of the environment. It only names metrics, so it works with and without an endpoint."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, variant: str, drift: cloudwatch.IAlarm
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._name = settings.prefix
        self._dimensions = {"EndpointName": settings.prefix, "VariantName": variant}
        self._drift = drift
        dashboard = cloudwatch.Dashboard(
            self, "Dashboard", dashboard_name=self._name, default_interval=Duration.days(1)
        )
        sections = (
            ("Is it up?", "The endpoint and the pipeline", self._is_it_up()),
            ("Is it right?", "What the model answers, and how sure it is", self._is_it_right()),
            ("What does it cost?", "Spend against the budget, and the instances that bill", self._what_it_costs()),
            (
                "Should it be retrained?",
                "Today's photos against the model's evaluation",
                self._should_it_be_retrained(),
            ),
        )
        for question, explanation, widgets in sections:
            heading = f"## {question}\n{explanation}"
            dashboard.add_widgets(cloudwatch.TextWidget(markdown=heading, width=_WIDTH, height=2))
            dashboard.add_widgets(*widgets)

    def _is_it_up(self) -> _Widgets:
        serving = self._settings.serving
        slow = serving.latency_p95_milliseconds * _MICROSECONDS
        return (
            cloudwatch.AlarmStatusWidget(
                title="Alarms",
                alarms=[self._alarm("ServerErrors"), self._alarm("Latency"), self._drift],
                width=6,
                height=_HEIGHT,
            ),
            _graph(
                "Calls and errors",
                [
                    # Of an asynchronous endpoint there is no metric of calls.
                    self._of_endpoint("ModelLatency", "SampleCount", "answers")
                    if serving.mode == "async"
                    else self._of_endpoint("Invocations", "Sum", "calls"),
                    self._of_endpoint("Invocation4XXErrors", "Sum", "refused (4xx)"),
                    self._of_endpoint("Invocation5XXErrors", "Sum", "failed (5xx)"),
                ],
            ),
            _graph(
                "Latency of the model, microseconds",
                [self._of_endpoint("ModelLatency", stat, stat) for stat in ("p50", "p95", "p99")],
                line=(slow, "the alarm's limit, and the rollback's"),
            ),
            _graph(
                "Pipeline executions",
                [
                    _metric("AWS/Sagemaker/ModelBuildingPipeline", name, "Sum", label, {"PipelineName": self._name})
                    for name, label in (
                        ("ExecutionStarted", "started"),
                        ("ExecutionSucceeded", "succeeded"),
                        ("ExecutionFailed", "failed"),
                    )
                ],
            ),
        )

    def _is_it_right(self) -> _Widgets:
        shares = [
            self._said_by_server("PredictedCount", f"PR({count - 0.5}:{count + 0.5})", f"{count}") for count in CLASSES
        ]
        return (
            cloudwatch.SingleValueWidget(
                title="Accuracy on the test split, of the model that serves",
                metrics=[self._found("TestAccuracy", "accuracy")],
                width=6,
                height=_HEIGHT,
            ),
            _graph("Share of the answers by count, %", shares, stacked=True),
            _graph(
                "Confidence",
                [
                    self._said_by_server("Confidence", "Average", "mean"),
                    self._said_by_server("Confidence", "p10", "one in ten is below"),
                ],
            ),
            _graph(
                "Photos that were not counted",
                [
                    self._said_by_server("ClientErrors", "Sum", "not a usable photo"),
                    self._said_by_server("Refused", "Sum", "refused under load"),
                    self._said_by_server("ServerErrors", "Sum", "failed"),
                ],
            ),
        )

    def _what_it_costs(self) -> _Widgets:
        budget = self._settings.money.monthly_budget_usd
        # Each instance reports once a minute, so the number of samples is the number of instances.
        instances = _metric(
            "/aws/sagemaker/Endpoints", "CPUUtilization", "SampleCount", "instances", self._dimensions, minutes=1
        )
        cost, off = command_of(self._name, "cost"), command_of(self._name, "endpoint off")
        help_text = (
            f"`{cost}` shows what a month, an execution and a thousand counts cost.\n\n"
            f"`{off}` ends what bills by the hour.\n\n"
            "The spend is that of AWS Budgets, which learns of it within hours."
        )
        return (
            cloudwatch.TextWidget(markdown=help_text, width=6, height=_HEIGHT),
            _graph(
                "Spent this month, USD",
                [self._found("SpentUsd", "spent")],
                line=(budget, f"budget, {budget:g} USD"),
                width=9,
            ),
            _graph("Endpoint instances that bill", [instances], width=9),
        )

    def _should_it_be_retrained(self) -> _Widgets:
        monitoring = self._settings.monitoring
        then = "starts the pipeline" if monitoring.retrain else "tells people"
        return (
            cloudwatch.AlarmWidget(title=f"Drift: the alarm {then}", alarm=self._drift, width=6, height=_HEIGHT),
            _graph(
                "Answered counts: population stability index",
                [self._found("CountShift", "shift")],
                line=(monitoring.count_shift_threshold, "drift, if it is more than luck"),
            ),
            _graph(
                "Mean confidence: change",
                [self._found("ConfidenceShift", "shift")],
                line=(monitoring.confidence_shift_threshold, "drift, if it is more than luck"),
            ),
            _graph(
                "Photos that were compared",
                [self._found("Photos", "photos")],
                line=(monitoring.minimum_photos, "fewer are not judged"),
            ),
        )

    def _alarm(self, name: str) -> cloudwatch.IAlarm:
        """An alarm of the serving stack, by its name: the alarm exists only while a model is served."""
        arn = Stack.of(self).format_arn(
            service="cloudwatch",
            resource="alarm",
            resource_name=f"{self._name}-{name}",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        return cloudwatch.Alarm.from_alarm_arn(self, name, arn)

    def _of_endpoint(self, name: str, statistic: str, label: str) -> cloudwatch.Metric:
        return _metric("AWS/SageMaker", name, statistic, label, self._dimensions)

    def _said_by_server(self, name: str, statistic: str, label: str) -> cloudwatch.Metric:
        return _metric(ENDPOINT, name, statistic, label, {"Endpoint": self._name})

    def _found(self, name: str, label: str) -> cloudwatch.Metric:
        """A metric of the drift monitor."""
        minutes = self._settings.monitoring.look_every_minutes
        return _metric(MONITORING, name, "Maximum", label, {"Endpoint": self._name}, minutes=minutes)


def _metric(
    namespace: str, name: str, statistic: str, label: str, dimensions: dict[str, str], *, minutes: int = 5
) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        statistic=statistic,
        label=label,
        period=Duration.minutes(minutes),
        dimensions_map=dimensions,
    )


def _graph(
    title: str,
    metrics: Sequence[cloudwatch.IMetric],
    *,
    line: tuple[float, str] | None = None,
    stacked: bool = False,
    width: int = 6,
) -> cloudwatch.GraphWidget:
    """A graph from zero, with a horizontal line at the threshold."""
    annotations = [cloudwatch.HorizontalAnnotation(value=line[0], label=line[1])] if line else []
    return cloudwatch.GraphWidget(
        title=title,
        left=list(metrics),
        left_annotations=annotations,
        left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
        stacked=stacked,
        width=width,
        height=_HEIGHT,
    )
