"""SQS and signed calls: events in, jobs out."""
