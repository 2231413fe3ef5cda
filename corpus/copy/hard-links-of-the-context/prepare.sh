#!/bin/sh
# Things that git does not keep.
set -eu
mkdir sub
echo one > a
ln a b
ln a sub/c
