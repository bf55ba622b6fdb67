"""Single sign-on with one OpenID Connect provider; docs/decisions/single-sign-on.md says why so."""
