#!/bin/sh
set -e
export SERVER_NAME="${SERVER_NAME:-localhost}"
envsubst '$SERVER_NAME' </etc/nginx/templates/site.conf.template >/etc/nginx/conf.d/site.conf
