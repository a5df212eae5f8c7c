"""The answers of custom resources, of which CloudFormation reads 4,096 bytes; ministack reads any number.

The limit: https://github.com/awsdocs/aws-cloudformation-user-guide/pull/262. CloudFormation's words about a longer one:
https://github.com/aws/aws-cdk/issues/23958.
"""

from __future__ import annotations

import json
from typing import Final

ANSWERS: Final = "/_ministack/cfn-response/"
"""Where the functions of custom resources put them."""
_LONGEST: Final = 4096


def as_cloudformation_reads(answer: bytes) -> bytes:
    """An answer; in place of one that is too long the failure that CloudFormation makes of it, of the same length."""
    if len(answer) <= _LONGEST:
        return answer
    return json.dumps({"Status": "FAILED", "Reason": "Response object is too long."}).encode().ljust(len(answer))
