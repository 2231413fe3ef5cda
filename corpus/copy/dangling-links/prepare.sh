set -e
ln -s nowhere d/dangling; ln -s /abs/nowhere d/absolute; ln -s ../a d/up; ln -s d to-d; ln -s . d/self
