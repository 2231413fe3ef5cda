#!/bin/sh
# Things that git does not keep.
set -eu
chmod 750 .
chmod 710 sub
