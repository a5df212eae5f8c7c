"""The one reader of what `cdk synth` writes: CloudFormation templates, and the pipeline definitions inside them."""
