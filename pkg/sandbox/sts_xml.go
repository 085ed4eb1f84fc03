package sandbox

import (
	"encoding/xml"
	"net/http"
	"time"
)

// The answers of STS, written down from AWS's documentation and not from any
// client's types.
const (
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	stsVersion   = "2011-06-15"
)

type xmlResponse struct {
	XMLName   xml.Name
	Namespace string `xml:"xmlns,attr"`
	Result    any
	RequestID string `xml:"ResponseMetadata>RequestId"`
}

type xmlErrorResponse struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Namespace string   `xml:"xmlns,attr"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

type xmlCredentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

type xmlAssumedRoleUser struct {
	AssumedRoleID string `xml:"AssumedRoleId"`
	ARN           string `xml:"Arn"`
}

type xmlWebIdentityResult struct {
	XMLName          xml.Name `xml:"AssumeRoleWithWebIdentityResult"`
	Subject          string   `xml:"SubjectFromWebIdentityToken"`
	Audience         string
	AssumedRoleUser  xmlAssumedRoleUser
	Credentials      xmlCredentials
	Provider         string
	PackedPolicySize int
}

type xmlAssumeRoleResult struct {
	XMLName          xml.Name    `xml:"AssumeRoleResult"`
	SourceIdentity   string      `xml:",omitempty"`
	Tags             sessionTags `xml:"-"`
	AssumedRoleUser  xmlAssumedRoleUser
	Credentials      xmlCredentials
	PackedPolicySize int
}

type xmlCallerIdentityResult struct {
	XMLName xml.Name `xml:"GetCallerIdentityResult"`
	ARN     string   `xml:"Arn"`
	UserID  string   `xml:"UserId"`
	Account string
}

func (s *session) credentialsXML() xmlCredentials {
	return xmlCredentials{
		AccessKeyID:     s.keyID,
		SecretAccessKey: s.secretKey.Reveal(),
		SessionToken:    s.token.Reveal(),
		// STS sends whole seconds.
		Expiration: s.expires.UTC().Format(time.RFC3339),
	}
}

func (s *session) userXML() xmlAssumedRoleUser {
	return xmlAssumedRoleUser{AssumedRoleID: s.userID(), ARN: s.arn()}
}

func writeResult(w http.ResponseWriter, action string, result any) {
	id := newUUID()
	writeXML(w, http.StatusOK, id, xmlResponse{
		XMLName:   xml.Name{Local: action + "Response"},
		Namespace: stsNamespace,
		Result:    result,
		RequestID: id,
	})
}

func writeRefusal(w http.ResponseWriter, r *refusal) {
	id, blame := newUUID(), "Sender"
	if r.status >= http.StatusInternalServerError {
		blame = "Receiver"
	}
	writeXML(w, r.status, id, xmlErrorResponse{
		Namespace: stsNamespace, Type: blame, Code: r.code, Message: r.message, RequestID: id,
	})
}

func writeXML(w http.ResponseWriter, status int, id string, v any) {
	body, err := xml.MarshalIndent(v, "", "  ")
	if err != nil {
		// Unreachable: the types above hold nothing but text and numbers.
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("x-amzn-RequestId", id)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that went away is not served
}
