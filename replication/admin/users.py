"""Users and groups: Django's own pages, audited like all others."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User

from replication.admin.audited import Audited

admin.site.unregister([User, Group])


@admin.register(User)
class UserAdmin(Audited, DjangoUserAdmin):
    show_facets = admin.ShowFacets.NEVER


@admin.register(Group)
class GroupAdmin(Audited, DjangoGroupAdmin):
    pass
