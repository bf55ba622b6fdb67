"""Tells people of what is wrong, by e-mail and webhooks, and when it is over.

    status ──▶ conditions ──▶ ledger (Condition rows) ──▶ wording ──▶ sending ──▶ a process: apprise

Import from the modules: `outlet` runs in a process without Django, which loads this file too.
"""
