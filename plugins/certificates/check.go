package main

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// rules is what every chain of a batch is held against.
type rules struct {
	now     time.Time
	minDays int
	roots   *x509.CertPool // nil where none were given
}

func (r *rules) check(entry entry) report {
	report := report{Name: entry.Name}
	chain, err := parse(entry.PEM)
	if err != nil {
		report.Verdicts = []verdict{{"pem", false, err.Error()}}
		return report
	}
	leaf := chain[0]
	if report.Name == "" {
		report.Name = name(leaf)
	}
	first := firstToExpire(chain)
	daysLeft := int(math.Floor(first.NotAfter.Sub(r.now).Hours() / 24))
	report.Expires, report.DaysLeft = &first.NotAfter, &daysLeft
	report.Verdicts = []verdict{r.expiry(chain, first, daysLeft), r.chain(chain), strength(chain)}
	if len(entry.Hosts) > 0 {
		report.Verdicts = append(report.Verdicts, hosts(leaf, entry.Hosts))
	}
	report.OK = true
	for _, verdict := range report.Verdicts {
		report.OK = report.OK && verdict.OK
	}
	return report
}

// parse reads one or more certificates in PEM. Other blocks, such as keys, are an error: they have no business here.
func parse(text string) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a block that is no certificate: %s", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d is not valid: %w", len(certificates)+1, err)
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, errors.New("holds no certificate")
	}
	// The decoder passes over what it cannot read.
	if begun := strings.Count(text, "-----BEGIN "); begun > len(certificates) {
		return nil, fmt.Errorf("holds %d blocks, of which only %d can be read", begun, len(certificates))
	}
	return certificates, nil
}

func (r *rules) expiry(chain []*x509.Certificate, first *x509.Certificate, daysLeft int) verdict {
	for _, certificate := range chain {
		if r.now.Before(certificate.NotBefore) {
			message := fmt.Sprintf("%s is not valid before %s", name(certificate), day(certificate.NotBefore))
			return verdict{"expiry", false, message}
		}
	}
	if r.now.After(first.NotAfter) {
		return verdict{"expiry", false, fmt.Sprintf("%s expired on %s", name(first), day(first.NotAfter))}
	}
	message := fmt.Sprintf("%s expires on %s, days left: %d", name(first), day(first.NotAfter), daysLeft)
	return verdict{"expiry", daysLeft >= r.minDays, message}
}

func (r *rules) chain(chain []*x509.Certificate) verdict {
	for i, certificate := range chain[1:] {
		below := chain[i]
		if !bytes.Equal(below.RawIssuer, certificate.RawSubject) {
			message := fmt.Sprintf("%s is followed by %s, but was issued by %s: wrong order, or one is missing",
				name(below), name(certificate), below.Issuer)
			return verdict{"chain", false, message}
		}
		if err := below.CheckSignatureFrom(certificate); err != nil {
			message := fmt.Sprintf("%s is not signed by %s: %v", name(below), name(certificate), err)
			return verdict{"chain", false, message}
		}
	}
	last := chain[len(chain)-1]
	if r.roots == nil {
		return verdict{"chain", true, fmt.Sprintf("in order up to %s; no roots to hold it against", name(last))}
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         r.roots,
		Intermediates: intermediates,
		// That a certificate has expired is said by another verdict: here it is what lies above it that counts.
		CurrentTime: within(chain[0], r.now),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return verdict{"chain", false, fmt.Sprintf("does not lead to a trusted root: %v", err)}
	}
	root := paths[0][len(paths[0])-1]
	return verdict{"chain", true, fmt.Sprintf("in order up to %s", name(root))}
}

// The shortest keys that are still thought to be out of reach.
const (
	minRSABits   = 2048
	minCurveBits = 256
)

func strength(chain []*x509.Certificate) verdict {
	var weak []string
	for _, certificate := range chain {
		switch key := certificate.PublicKey.(type) {
		case *rsa.PublicKey:
			if bits := key.N.BitLen(); bits < minRSABits {
				weak = append(weak, fmt.Sprintf("%s has an RSA key of %d bits", name(certificate), bits))
			}
		case *ecdsa.PublicKey:
			if bits := key.Curve.Params().BitSize; bits < minCurveBits {
				weak = append(weak, fmt.Sprintf("%s has an EC key of %d bits", name(certificate), bits))
			}
		}
		// Nobody relies on what a root says of itself.
		isRoot := bytes.Equal(certificate.RawIssuer, certificate.RawSubject)
		switch algorithm := certificate.SignatureAlgorithm; algorithm {
		case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1, x509.MD5WithRSA, x509.MD2WithRSA:
			if !isRoot {
				weak = append(weak, fmt.Sprintf("%s is signed by %s", name(certificate), algorithm))
			}
		}
	}
	if weak == nil {
		return verdict{"strength", true, "keys and signatures are strong"}
	}
	return verdict{"strength", false, strings.Join(weak, "; ")}
}

func hosts(leaf *x509.Certificate, hosts []string) verdict {
	var others []string
	for _, host := range hosts {
		if leaf.VerifyHostname(host) != nil {
			others = append(others, host)
		}
	}
	if others == nil {
		return verdict{"hosts", true, "is for " + strings.Join(hosts, ", ")}
	}
	names := leaf.DNSNames
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	message := fmt.Sprintf("is not for %s, but for %s", strings.Join(others, ", "),
		cmp.Or(strings.Join(names, ", "), "no host"))
	return verdict{"hosts", false, message}
}

func firstToExpire(chain []*x509.Certificate) *x509.Certificate {
	first := chain[0]
	for _, certificate := range chain[1:] {
		if certificate.NotAfter.Before(first.NotAfter) {
			first = certificate
		}
	}
	return first
}

// within is the time nearest to now at which a certificate is valid.
func within(certificate *x509.Certificate, now time.Time) time.Time {
	switch {
	case now.Before(certificate.NotBefore):
		return certificate.NotBefore
	case now.After(certificate.NotAfter):
		return certificate.NotAfter
	}
	return now
}

func name(certificate *x509.Certificate) string {
	if certificate.Subject.CommonName != "" {
		return certificate.Subject.CommonName
	}
	if len(certificate.DNSNames) > 0 {
		return certificate.DNSNames[0]
	}
	return certificate.Subject.String()
}

func day(at time.Time) string { return at.UTC().Format(time.DateOnly) }
