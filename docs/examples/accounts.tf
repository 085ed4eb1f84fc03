# What accounts.yaml wrote, for Terraform: a provider for each account.
provider "aws" {
  alias               = "staging"
  profile             = "staging"
  region              = "eu-central-1"
  allowed_account_ids = ["222233334444"]
}

provider "aws" {
  alias               = "production"
  profile             = "production"
  region              = "us-east-1"
  allowed_account_ids = ["333344445555"]
}

module "staging" {
  source    = "./site"
  providers = { aws = aws.staging }
}

module "production" {
  source    = "./site"
  providers = { aws = aws.production }
}
