# !!! This REPLACES every notification of these buckets, including those of other programs, and
# switches EventBridge off unless `eventbridge = true` is added. No bucket is named by default,
# because `manage.py provision --apply` adds s3sync's notification to the present ones. Name a bucket
# only if Terraform alone configures its notifications, and add its other notifications here too.

resource "aws_s3_bucket_notification" "events" {
  for_each = toset(var.replace_notifications_of)
  bucket   = each.value

  queue {
    id        = "terraform-${var.queue_name}"
    queue_arn = aws_sqs_queue.events.arn
    events    = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*", "s3:ObjectRestore:Completed", "s3:ObjectTagging:*"]
  }

  depends_on = [aws_sqs_queue_policy.events]
}
