# Every variant x target, for CI and releases: `docker buildx bake -f docker/bake.hcl`, or one: `... bake cu118-dev`.
# The variants are those of app/host/variants.py; a test compares the two.

variable "REGISTRY" { default = "" }  # with its slash: "ghcr.io/someone/"
variable "TAG" { default = "" }  # a release such as "v1.2.0", added as a second tag
variable "SLIM" { default = "" }
variable "BASE_IMAGE" { default = "" }
variable "DEV_BASE_IMAGE" { default = "" }
variable "PIP_INDEX_URL" { default = "" }
variable "REVISION" { default = "" }
variable "CREATED" { default = "" }
variable "LOCK_HASH" { default = "" }
variable "WORKSPACE_CA_BUNDLE" { default = "/dev/null" }

group "default" {
  targets = ["image"]
}

target "image" {
  name = "${variant}-${stage}"
  matrix = {
    variant = ["cu118", "cu117", "cpu"]
    stage   = ["runtime", "dev"]
  }
  context    = "."
  dockerfile = "docker/Dockerfile"
  target     = stage
  tags = concat(
    ["${REGISTRY}gpu-workspace:${variant}-${stage}"],
    TAG == "" ? [] : ["${REGISTRY}gpu-workspace:${variant}-${stage}-${TAG}"],
  )
  args = {
    VARIANT        = variant
    SLIM           = SLIM
    BASE_IMAGE     = BASE_IMAGE
    DEV_BASE_IMAGE = DEV_BASE_IMAGE
    PIP_INDEX_URL  = PIP_INDEX_URL
    REVISION       = REVISION
    CREATED        = CREATED
    LOCK_HASH      = LOCK_HASH
  }
  # By the variable's name: a mirror's address may contain a password.
  secret = ["id=ca,src=${WORKSPACE_CA_BUNDLE}", "id=apt_mirror,env=APT_MIRROR"]
}
