"""The forms of rules, sources and destinations: none of them adds a collision of rules."""

from django import forms
from django.core.exceptions import ValidationError

from replication.models.collisions import refuse_new_collisions


class CollisionFreeForm(forms.ModelForm):
    """Refuses a change after which two rules could write two objects to one destination key."""

    def full_clean(self) -> None:
        super().full_clean()  # gives the row the values of the form
        if not self.is_valid():
            return
        try:
            # Holds until the row is saved: Django's admin validates and saves in one transaction.
            refuse_new_collisions(self.instance)
        except ValidationError as error:
            self.add_error(None, error)
