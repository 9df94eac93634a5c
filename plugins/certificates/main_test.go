package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"handlers/certificates/kiln"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// signed is a certificate with its key.
type signed struct {
	*x509.Certificate
	key crypto.Signer
}

func (s signed) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Raw}))
}

// issue has a certificate signed, by itself where there is no issuer. What template leaves open is filled in.
func issue(t *testing.T, issuer *signed, key crypto.Signer, template x509.Certificate) signed {
	t.Helper()
	template.SerialNumber = big.NewInt(1)
	if template.NotAfter.IsZero() {
		template.NotAfter = now.AddDate(0, 0, 90)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = now.AddDate(-1, 0, 0)
	}
	template.BasicConstraintsValid = true
	if issuer == nil {
		issuer = &signed{&template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer.Certificate, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signed{certificate, key}
}

func ecKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func named(name string) pkix.Name { return pkix.Name{CommonName: name} }

func authority(t *testing.T, issuer *signed, name string) signed {
	return issue(t, issuer, ecKey(t), x509.Certificate{Subject: named(name), IsCA: true, NotAfter: now.AddDate(9, 0, 0)})
}

// server is a template for a server's own certificate.
func server(host string) x509.Certificate {
	return x509.Certificate{
		Subject:     named(host),
		DNSNames:    []string{host},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// check runs the handler on one entry and returns its report.
func check(t *testing.T, payload batch) report {
	t.Helper()
	payload.Now = now
	summary, err := handle(t.Context(), &kiln.Job{}, payload)
	if err != nil {
		t.Fatal(err)
	}
	return summary.Certificates[0]
}

func one(roots, pem string, hosts ...string) batch {
	return batch{Roots: roots, Certificates: []entry{{PEM: pem, Hosts: hosts}}}
}

// expect fails the test unless the named check says ok with just that message, or with one that ends in `…` begins so.
func expect(t *testing.T, report report, check string, ok bool, message string) {
	t.Helper()
	for _, verdict := range report.Verdicts {
		if verdict.Check != check {
			continue
		}
		start, open := strings.CutSuffix(message, "…")
		fits := verdict.Message == message || open && strings.HasPrefix(verdict.Message, start)
		if verdict.OK != ok || !fits {
			t.Errorf("got %+v, want %v: %s", verdict, ok, message)
		}
		return
	}
	t.Errorf("no verdict of %s in %+v", check, report)
}

func TestPassesAChainThatIsInOrder(t *testing.T) {
	root := authority(t, nil, "Root")
	middle := authority(t, &root, "Middle")
	shop := issue(t, &middle, ecKey(t), server("shop.example.com"))
	report := check(t, one(root.pem(), shop.pem()+middle.pem(), "shop.example.com"))
	if !report.OK || report.Name != "shop.example.com" || *report.DaysLeft != 90 || len(report.Verdicts) != 4 {
		t.Errorf("got %+v", report)
	}
	expect(t, report, "expiry", true, "shop.example.com expires on 2026-07-30, days left: 90")
	expect(t, report, "chain", true, "in order up to Root")
	expect(t, report, "hosts", true, "is for shop.example.com")
	expect(t, report, "strength", true, "keys and signatures are strong")
}

func TestSaysWhenTheFirstOfAChainExpires(t *testing.T) {
	root := authority(t, nil, "Root")
	expires := func(at time.Time) batch {
		template := x509.Certificate{Subject: named("Middle"), IsCA: true, NotAfter: at}
		middle := issue(t, &root, ecKey(t), template)
		shop := issue(t, &middle, ecKey(t), server("shop.example.com"))
		return one("", shop.pem()+middle.pem())
	}
	soon := check(t, expires(now.Add(47*time.Hour)))
	expect(t, soon, "expiry", false, "Middle expires on 2026-05-03, days left: 1")
	past := check(t, expires(now.Add(-time.Minute)))
	expect(t, past, "expiry", false, "Middle expired on 2026-05-01")
	if *past.DaysLeft != -1 || past.OK {
		t.Errorf("got %+v", past)
	}
	template := server("new.example.com")
	template.NotBefore = now.AddDate(0, 0, 1)
	fresh := issue(t, &root, ecKey(t), template)
	expect(t, check(t, one("", fresh.pem())), "expiry", false, "new.example.com is not valid before 2026-05-02")
}

func TestHoldsExpiryAgainstTheThreshold(t *testing.T) {
	root := authority(t, nil, "Root")
	shop := issue(t, &root, ecKey(t), server("shop.example.com"))
	for minDays, ok := range map[int]bool{90: true, 91: false} {
		payload := one(root.pem(), shop.pem())
		payload.MinDays = &minDays
		if report := check(t, payload); report.OK != ok {
			t.Errorf("%d days: got %+v", minDays, report)
		}
	}
}

func TestTellsAnExpiredCertificateFromOneNobodySigned(t *testing.T) {
	root := authority(t, nil, "Root")
	template := server("shop.example.com")
	template.NotAfter = now.AddDate(0, 0, -3)
	shop := issue(t, &root, ecKey(t), template)
	report := check(t, one(root.pem(), shop.pem()))
	expect(t, report, "expiry", false, "shop.example.com expired on 2026-04-28")
	expect(t, report, "chain", true, "in order up to Root")
}

func TestFindsAChainThatIsBroken(t *testing.T) {
	root := authority(t, nil, "Root")
	middle := authority(t, &root, "Middle")
	shop := issue(t, &middle, ecKey(t), server("shop.example.com"))
	impostor := authority(t, nil, "Middle")
	chain := func(roots, pem, want string) {
		t.Helper()
		expect(t, check(t, one(roots, pem)), "chain", false, want)
	}
	chain(root.pem(), shop.pem()+root.pem()+middle.pem(),
		"shop.example.com is followed by Root, but was issued by CN=Middle: wrong order, or one is missing")
	chain(root.pem(), shop.pem()+impostor.pem(), "shop.example.com is not signed by Middle: …")
	chain(root.pem(), shop.pem(), "does not lead to a trusted root: x509: certificate signed by unknown authority…")
	chain(authority(t, nil, "Other").pem(), shop.pem()+middle.pem()+root.pem(), "does not lead to a trusted root: …")
}

func TestChecksAChainAsFarAsItReachesWithoutRoots(t *testing.T) {
	root := authority(t, nil, "Root")
	middle := authority(t, &root, "Middle")
	shop := issue(t, &middle, ecKey(t), server("shop.example.com"))
	report := check(t, one("", shop.pem()+middle.pem()))
	expect(t, report, "chain", true, "in order up to Middle; no roots to hold it against")
}

func TestMatchesHosts(t *testing.T) {
	template := server("*.example.com")
	shop := issue(t, nil, ecKey(t), template)
	good := check(t, one("", shop.pem(), "a.example.com", "b.example.com"))
	expect(t, good, "hosts", true, "is for a.example.com, b.example.com")
	bad := check(t, one("", shop.pem(), "a.example.com", "example.com", "a.b.example.com"))
	expect(t, bad, "hosts", false, "is not for example.com, a.b.example.com, but for *.example.com")
}

func TestFindsWeakKeysAndSignatures(t *testing.T) {
	root := issue(t, nil, rsaKey(t, 2048), x509.Certificate{
		Subject: named("Root"), IsCA: true, SignatureAlgorithm: x509.SHA1WithRSA,
	})
	short := issue(t, &root, rsaKey(t, 1024), server("short.example.com"))
	expect(t, check(t, one("", short.pem()+root.pem())), "strength", false, "short.example.com has an RSA key of 1024 bits")
	template := server("old.example.com")
	template.SignatureAlgorithm = x509.SHA1WithRSA
	old := issue(t, &root, ecKey(t), template)
	expect(t, check(t, one("", old.pem()+root.pem())), "strength", false, "old.example.com is signed by SHA1-RSA")
}

func TestGoesOnAfterAnEntryThatCannotBeRead(t *testing.T) {
	shop := issue(t, nil, ecKey(t), server("shop.example.com"))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}))
	payload := batch{Now: now, Certificates: []entry{
		{PEM: "no PEM at all"},
		{Name: "with key", PEM: shop.pem() + key},
		{Name: "cut", PEM: shop.pem() + shop.pem()[:200]},
		{Name: "other", PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))},
		{Name: "good", PEM: "# a note\n" + shop.pem()},
	}}
	summary, err := handle(t.Context(), &kiln.Job{}, payload)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"holds no certificate",
		"holds a block that is no certificate: PRIVATE KEY",
		"holds 2 blocks, of which only 1 can be read",
		"certificate 1 is not valid: …",
	} {
		expect(t, summary.Certificates[i], "pem", false, want)
	}
	if summary.Failing != 4 || !summary.Certificates[4].OK || summary.Certificates[0].Name != "certificate 1" {
		t.Errorf("got %+v", summary)
	}
}

func TestRefusesWhatIsNoBatch(t *testing.T) {
	for payload, want := range map[string]string{
		"null":                                 "payload: certificates: there are none",
		`{"certificates": []}`:                 "payload: certificates: there are none",
		`{"certificates": "x"}`:                "payload: certificates: expected []main.entry, got string",
		`{"certificates": [{}], "roots": "x"}`: "payload: roots: holds no certificate",
	} {
		_, err := kiln.Run(t.Context(), &kiln.Job{Payload: json.RawMessage(payload)}, handle)
		var permanent *kiln.PermanentError
		if !errors.As(err, &permanent) || err.Error() != want {
			t.Errorf("%s: got %v, want %q", payload, err, want)
		}
	}
}
