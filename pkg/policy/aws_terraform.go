package policy

import (
	"fmt"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// terraform is a configuration as `terraform fmt` writes it.
func (s AWSSetup) terraform() string {
	var like string
	if sub := s.subject(); sub != "" {
		like = fmt.Sprintf(`
        StringLike = {
          %s = %s
        }`, awsHCL(s.provider()+":sub"), awsHCL(sub))
	}
	aud, project := awsHCL(s.provider()+":aud"), awsHCL(s.provider()+":"+claimProject)
	return fmt.Sprintf(`resource "aws_iam_openid_connect_provider" "circleci" {
  url            = %s
  client_id_list = [%s]
}

resource "aws_iam_role" "circleci" {
  name = %s
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.circleci.arn }
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
`, awsHCL(oidc.OrgIssuer(s.Org)), awsHCL(s.Audience), awsHCL(s.RoleName), awsAssume,
		len(project), aud, awsHCL(s.Audience), project, awsHCL(s.Project), like)
}

// awsHCL quotes text for Terraform, where ${ and %{ begin a template.
func awsHCL(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "${", "$${", "%{", "%%{").Replace(s)
	return `"` + s + `"`
}
