ARG BASE=busybox:stable
FROM ${BASE}
COPY . /all/
