#!/bin/sh
# What a project migrates its database with.
[ -n "${DB_PASSWORD-}" ]
