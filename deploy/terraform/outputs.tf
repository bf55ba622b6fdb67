output "queue_url" {
  description = "The url of the queue in the rules file"
  value       = aws_sqs_queue.events.url
}

output "service_policy_arn" {
  description = "Attach it to the role or user that the service runs as"
  value       = aws_iam_policy.service.arn
}
