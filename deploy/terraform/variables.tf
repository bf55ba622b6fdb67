variable "queue_name" {
  description = "Name of the queue; the dead-letter queue is called <name>-dead"
  type        = string
  default     = "s3sync"
}

variable "source_buckets" {
  description = "Names of the buckets whose objects are replicated"
  type        = list(string)

  validation {
    condition     = length(var.source_buckets) > 0
    error_message = "Name one bucket at least."
  }
}

variable "role_name" {
  description = "Role that the service runs as, to attach the policy to; empty to attach it yourself"
  type        = string
  default     = ""
}

variable "may_restore" {
  description = "Whether rules restore archived objects (archive_policy restore)"
  type        = bool
  default     = false
}

variable "replace_notifications_of" {
  description = "Buckets whose notifications Terraform shall REPLACE, all of them: see notification.tf"
  type        = list(string)
  default     = []
}
