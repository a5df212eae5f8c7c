"""SageMaker as local processes: what ministack lacks, on ministack's port."""
