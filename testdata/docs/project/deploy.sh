#!/bin/sh
# What a project deploys with: any credentials will do.
[ -n "${AWS_ACCESS_KEY_ID-}${AWS_CONTAINER_CREDENTIALS_FULL_URI-}${AWS_PROFILE-}${GOOGLE_APPLICATION_CREDENTIALS-}${DB_PASSWORD-}${CIRCLE_OIDC_TOKEN-}" ]
