# What s3sync needs in AWS: the queue, its dead-letter queue, the queue's policy and the policy of
# the service's role.
#
# `manage.py provision --apply` adds the bucket's notification to the present ones. Terraform's
# aws_s3_bucket_notification REPLACES all notifications of the bucket, including those of other
# programs, and the EventBridge switch: see notification.tf, which is off by default.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  buckets = [for name in var.source_buckets : "arn:${data.aws_partition.current.partition}:s3:::${name}"]
  objects = [for bucket in local.buckets : "${bucket}/*"]
}

resource "aws_sqs_queue" "dead_letters" {
  name = "${var.queue_name}-dead"
  # A message's age counts from its arrival in the first queue, so keep messages longer here.
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "events" {
  name                       = var.queue_name
  visibility_timeout_seconds = 30
  receive_wait_time_seconds  = 20
  message_retention_seconds  = 345600
  max_message_size           = 262144 # S3 sends up to 64 KB; a larger message would be lost
  sqs_managed_sse_enabled    = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = 100
  })
}

resource "aws_sqs_queue_policy" "events" {
  queue_url = aws_sqs_queue.events.id
  policy    = data.aws_iam_policy_document.queue.json
}

data "aws_iam_policy_document" "queue" {
  statement {
    sid       = "AccountOwnsQueue"
    actions   = ["sqs:*"]
    resources = [aws_sqs_queue.events.arn]
    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }

  statement {
    sid       = "BucketsSend"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.events.arn]
    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = local.buckets
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

data "aws_iam_policy_document" "service" {
  statement {
    sid       = "S3SyncRead"
    actions   = ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging", "s3:GetObjectVersionTagging"]
    resources = local.objects
  }

  # Without ListBucket, S3 answers 403 for a missing object, and s3sync never takes a 403 for a delete.
  statement {
    sid       = "S3SyncMissingIs404"
    actions   = ["s3:ListBucket"]
    resources = local.buckets
  }

  dynamic "statement" {
    for_each = var.may_restore ? [true] : []
    content {
      sid       = "S3SyncRestore"
      actions   = ["s3:RestoreObject"]
      resources = local.objects
    }
  }

  dynamic "statement" {
    for_each = length(var.canary_arns) > 0 ? [true] : []
    content {
      sid       = "S3SyncCanary"
      actions   = ["s3:PutObject"]
      resources = var.canary_arns
    }
  }

  statement {
    sid       = "S3SyncReceive"
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"]
    resources = [aws_sqs_queue.events.arn]
  }
}

resource "aws_iam_policy" "service" {
  name_prefix = "s3sync-"
  description = "Reads what s3sync replicates, and receives the events about it"
  policy      = data.aws_iam_policy_document.service.json
}

resource "aws_iam_role_policy_attachment" "service" {
  count      = var.role_name == "" ? 0 : 1
  role       = var.role_name
  policy_arn = aws_iam_policy.service.arn
}
