"""What DynamoDB does beyond moto."""
