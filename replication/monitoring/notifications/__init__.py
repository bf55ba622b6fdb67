"""Tells people by e-mail and webhooks what is wrong, and when it is over.

    status ──▶ evaluation ──▶ state (Condition rows) ──▶ rendering ──▶ sender ──▶ sender_process

dispatch runs this chain for each target; sender_process calls apprise. Import from the modules:
sender_process runs without Django and loads this file too.
"""
