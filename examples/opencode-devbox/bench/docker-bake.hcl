# For `cargo xtask bench family` only: the four variants in one call, with the base as a target
# that all of them share.

variable "REGISTRY" {}
variable "BASE_IMAGE" {}
variable "OPENCODE_VERSION" {}
variable "OMOS_VERSION" {}
variable "PI_VERSION" {}

group "default" {
  targets = ["variant"]
}

target "base" {
  dockerfile-inline = "FROM ${BASE_IMAGE}"
}

target "variant" {
  name = "variant-${item.name}"
  matrix = {
    item = [
      { name = "base", suffix = "", omos = "false", pi = "false" },
      { name = "omos", suffix = "-omos", omos = "true", pi = "false" },
      { name = "with-pi", suffix = "-with-pi", omos = "false", pi = "true" },
      { name = "omos-with-pi", suffix = "-omos-with-pi", omos = "true", pi = "true" },
    ]
  }
  dockerfile = "bench/Dockerfile.bake"
  contexts = {
    base = "target:base"
  }
  args = {
    INSTALL_OMOS     = item.omos
    INSTALL_PI       = item.pi
    OPENCODE_VERSION = OPENCODE_VERSION
    OMOS_VERSION     = OMOS_VERSION
    PI_VERSION       = PI_VERSION
  }
  tags   = ["${REGISTRY}/bake/opencode-devbox:v1.0.0${item.suffix}"]
  output = ["type=registry"]
}
