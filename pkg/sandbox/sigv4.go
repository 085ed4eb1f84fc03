package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signature Version 4, from AWS's specification ("Create a signed AWS API
// request") and from no client's code.
const (
	sigAlgorithm  = "AWS4-HMAC-SHA256"
	sigTerminator = "aws4_request"
	sigTime       = "20060102T150405Z"
	// sigSkew is how far a request's date may be from AWS's clock.
	sigSkew = 15 * time.Minute
)

var (
	sigRegion   = lazy(`^[a-z0-9]+(?:-[a-z0-9]+)*$`)
	innerSpaces = lazy(` +`)
)

// An authorization is the Authorization header of a signed request.
type authorization struct {
	keyID, date, region, service, terminator string
	headers                                  []string
	signature                                string
}

func parseAuthorization(header string) (authorization, error) {
	var a authorization
	algorithm, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if algorithm != sigAlgorithm {
		return a, incompleteSignature("Unsupported AWS 'algorithm'.")
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	var missing []string
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if fields[name] == "" {
			missing = append(missing, "Authorization header requires '"+name+"' parameter.")
		}
	}
	if missing != nil {
		return a, incompleteSignature("%s", strings.Join(missing, " "))
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 {
		return a, incompleteSignature("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
	}
	a.keyID, a.date, a.region, a.service, a.terminator = scope[0], scope[1], scope[2], scope[3], scope[4]
	a.headers = strings.Split(fields["SignedHeaders"], ";")
	a.signature = fields["Signature"]
	return a, nil
}

// authenticate returns the session whose credentials signed the request.
func (s *sts) authenticate(r *http.Request, body []byte) (*session, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return nil, missingAuthentication()
	}
	a, err := parseAuthorization(headers[0])
	if err != nil {
		return nil, err
	}
	now := s.now()
	if err := a.check(r, now); err != nil {
		return nil, err
	}
	found := s.sessions.find(a.keyID)
	token := []byte(r.Header.Get("X-Amz-Security-Token"))
	if found == nil || subtle.ConstantTimeCompare(token, []byte(found.token.Reveal())) != 1 {
		return nil, unknownKey()
	}
	if !now.Before(found.expires) {
		return nil, expiredCredentials()
	}
	want, err := a.sign(r, body, found.secretKey.Reveal())
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(a.signature)) != 1 {
		return nil, signatureMismatch()
	}
	return found, nil
}

// check judges what is signed, and for when and where, before any key.
func (a authorization) check(r *http.Request, now time.Time) error {
	stamp := r.Header.Get("X-Amz-Date")
	if stamp == "" {
		return incompleteSignature("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	at, err := time.Parse(sigTime, stamp)
	if err != nil {
		return incompleteSignature("Date must be in ISO-8601 'basic format'.")
	}
	switch {
	case a.terminator != sigTerminator:
		return wrongSignature("Credential should be scoped with a valid terminator: 'aws4_request', not '%s'.", a.terminator)
	case a.service != "sts":
		return wrongSignature("Credential should be scoped to correct service: 'sts'. ")
	case !sigRegion().MatchString(a.region):
		return wrongSignature("Credential should be scoped to a valid region. ")
	case a.date != at.Format("20060102"):
		return wrongSignature("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", a.date, at.Format("20060102"), stamp)
	case now.Sub(at) > sigSkew:
		return wrongSignature("Signature expired: %s is now earlier than %s (%s - 15 min.)", stamp, now.Add(-sigSkew).UTC().Format(sigTime), now.UTC().Format(sigTime))
	case at.Sub(now) > sigSkew:
		return wrongSignature("Signature not yet current: %s is still later than %s (%s + 15 min.)", stamp, now.Add(sigSkew).UTC().Format(sigTime), now.UTC().Format(sigTime))
	case !slices.Contains(a.headers, "host"):
		return wrongSignature("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	// What is not signed, somebody on the way could have put there.
	for name := range r.Header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && !slices.Contains(a.headers, name) {
			return wrongSignature("'%s' must be a 'SignedHeader' in the AWS Authorization.", name)
		}
	}
	return nil
}

// sign returns the signature that the request should have.
func (a authorization) sign(r *http.Request, body []byte, secretKey string) (string, error) {
	hash := hexSHA256(body)
	if sent := r.Header.Values("X-Amz-Content-Sha256"); len(sent) > 0 && (len(sent) > 1 || sent[0] != hash) {
		return "", signatureMismatch().because("x-amz-content-sha256 is not the body's hash")
	}
	canonical, err := canonicalRequest(r, a.headers, hash)
	if err != nil {
		return "", err
	}
	scope := strings.Join([]string{a.date, a.region, a.service, a.terminator}, "/")
	text := strings.Join([]string{sigAlgorithm, r.Header.Get("X-Amz-Date"), scope, hexSHA256([]byte(canonical))}, "\n")
	return hex.EncodeToString(hmacSHA256(signingKey(secretKey, a.date, a.region, a.service), text)), nil
}

func canonicalRequest(r *http.Request, signed []string, bodyHash string) (string, error) {
	query, err := canonicalQuery(r.URL.RawQuery)
	if err != nil {
		return "", err
	}
	if !slices.IsSorted(signed) {
		return "", signatureMismatch().because("the signed headers are not in order")
	}
	var headers strings.Builder
	for _, name := range signed {
		values := headerValues(r, name)
		if len(values) == 0 {
			return "", signatureMismatch().because("header %q is signed but was not sent", name)
		}
		for i, v := range values {
			values[i] = innerSpaces().ReplaceAllString(strings.TrimSpace(v), " ")
		}
		headers.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	return strings.Join([]string{
		r.Method, canonicalPath(r.URL), query, headers.String(), strings.Join(signed, ";"), bodyHash,
	}, "\n"), nil
}

// headerValues knows the two headers that net/http keeps elsewhere.
func headerValues(r *http.Request, name string) []string {
	values := slices.Clone(r.Header.Values(name))
	switch {
	case name == "host":
		return []string{r.Host}
	case name == "content-length" && len(values) == 0:
		return []string{strconv.FormatInt(r.ContentLength, 10)}
	}
	return values
}

// canonicalPath is the path normalised, and encoded once more than it was
// sent, as for every service but S3.
func canonicalPath(u *url.URL) string {
	sent := u.EscapedPath()
	if sent == "" {
		return "/"
	}
	clean := path.Clean("/" + sent)
	if strings.HasSuffix(sent, "/") && clean != "/" {
		clean += "/"
	}
	segments := strings.Split(clean, "/")
	for i, s := range segments {
		segments[i] = uriEncode(s)
	}
	return strings.Join(segments, "/")
}

// canonicalQuery sorts the parameters by name and then by value, as encoded.
func canonicalQuery(raw string) (string, error) {
	var pairs [][2]string
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, err := url.QueryUnescape(name)
		if err != nil {
			return "", malformedQuery()
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			return "", malformedQuery()
		}
		pairs = append(pairs, [2]string{uriEncode(n), uriEncode(v)})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int {
		if c := strings.Compare(a[0], b[0]); c != 0 {
			return c
		}
		return strings.Compare(a[1], b[1])
	})
	encoded := make([]string, len(pairs))
	for i, p := range pairs {
		encoded[i] = p[0] + "=" + p[1]
	}
	return strings.Join(encoded, "&"), nil
}

// uriEncode encodes every byte but the unreserved ones of RFC 3986.
func uriEncode(s string) string {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; strings.IndexByte(unreserved, c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}

func signingKey(secretKey, date, region, service string) []byte {
	key := []byte("AWS4" + secretKey)
	for _, part := range []string{date, region, service, sigTerminator} {
		key = hmacSHA256(key, part)
	}
	return key
}

func hmacSHA256(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
