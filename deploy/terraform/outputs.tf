output "queue_url" {
  description = "The `url` of the queue, for the rules file"
  value       = aws_sqs_queue.events.url
}

output "service_policy_arn" {
  description = "The policy to attach to the role or user that the service runs as"
  value       = aws_iam_policy.service.arn
}
