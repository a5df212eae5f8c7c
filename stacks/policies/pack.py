"""Binventory's own rules as a CDK validation plugin: public scanners see little of SageMaker and no pipeline step."""

from __future__ import annotations

import importlib
import pkgutil

import aws_cdk as cdk
import jsii

from stacks.policies import rules
from stacks.policies.assembly import Assembly
from stacks.policies.rule import Finding, Rule


def all_rules() -> tuple[Rule, ...]:
    """The `RULE` of every module in rules/, by name."""
    modules = [
        importlib.import_module(f"{rules.__name__}.{module.name}") for module in pkgutil.iter_modules(rules.__path__)
    ]
    return tuple(sorted((module.RULE for module in modules), key=lambda rule: rule.id))


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
        """What is checked."""
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
