variable "queue_name" {
  description = "Name of the queue; the dead-letter queue is <name>-dead"
  type        = string
  default     = "s3sync"
}

variable "source_buckets" {
  description = "Names of the buckets whose objects are replicated"
  type        = list(string)

  validation {
    condition     = length(var.source_buckets) > 0
    error_message = "Name at least one bucket."
  }
}

variable "role_name" {
  description = "Name of the service's role, to attach the policy to; empty to attach it yourself"
  type        = string
  default     = ""
}

variable "may_restore" {
  description = "Whether a rule restores archived objects (`archive_policy: restore`)"
  type        = bool
  default     = false
}

variable "canary_arns" {
  description = "ARNs of the rules' canaries (arn:aws:s3:::<bucket>/<prefix>.s3sync-canary<suffix>)"
  type        = list(string)
  default     = []
}

variable "replace_notifications_of" {
  description = "Buckets for which Terraform must REPLACE all notifications: see notification.tf"
  type        = list(string)
  default     = []
}
