package iam

import (
	"fmt"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// terraform is a configuration as `terraform fmt` writes it.
func (s Setup) terraform() string {
	var like string
	if all := s.subjects(); len(all) > 0 {
		like = fmt.Sprintf(`
        StringLike = {
          %s = %s
        }`, hCL(s.provider()+":sub"), hclValues(all, "\n            ", ",\n          "))
	}
	aud, project := hCL(s.provider()+":aud"), hCL(s.provider()+":"+policy.ClaimProject)
	return fmt.Sprintf(`%s

resource "aws_iam_role" "circleci" {
  name = %s
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = %saws_iam_openid_connect_provider.circleci.arn }
      Action    = "%s"
      Condition = {
        StringEquals = {
          %-*s = %s
          %s = %s
        }%s
      }
    }]
  })
}

output "role_arn" {
  value = aws_iam_role.circleci.arn
}
`, s.terraformProvider(), hCL(s.RoleName), s.terraformData(), assume,
		len(project), aud, hCL(s.Audience), project, hclValues(s.projects(), "", ""), like)
}

// terraformProvider makes the provider, or looks for the one that is there.
func (s Setup) terraformProvider() string {
	if s.ExistingProvider {
		return fmt.Sprintf(`data "aws_iam_openid_connect_provider" "circleci" {
  url = %s
}`, hCL(ci.OrgIssuer(s.Org)))
	}
	return fmt.Sprintf(`resource "aws_iam_openid_connect_provider" "circleci" {
  url            = %s
  client_id_list = [%s]
}`, hCL(ci.OrgIssuer(s.Org)), hCL(s.Audience))
}

// terraformData is what comes before the address of the provider.
func (s Setup) terraformData() string {
	if s.ExistingProvider {
		return "data."
	}
	return ""
}

// hclValues is one value, or a list whose items begin as given, on one line or on
// lines of their own.
func hclValues(all []string, before, after string) string {
	if len(all) == 1 {
		return hCL(all[0])
	}
	quoted := make([]string, len(all))
	for i, v := range all {
		quoted[i] = before + hCL(v)
	}
	between := ", "
	if before != "" {
		between = ","
	}
	return "[" + strings.Join(quoted, between) + after + "]"
}

// hCL quotes text for Terraform, where ${ and %{ begin a template.
func hCL(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "${", "$${", "%{", "%%{").Replace(s)
	return `"` + s + `"`
}
