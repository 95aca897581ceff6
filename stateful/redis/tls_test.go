package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pondage/pondage/internal/testserver"
)

// certificate writes a certificate for host, signed by itself, and its key.
func certificate(t *testing.T, host string) (certFile, keyFile string, authority *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(host)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, b []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	authority = x509.NewCertPool()
	authority.AddCert(parsed)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", private), authority
}

func TestTheServersCertificateIsVerified(t *testing.T) {
	start := func(host string) (addr string, authority *x509.CertPool) {
		cert, key, authority := certificate(t, host)
		port := strconv.Itoa(testserver.FreePort(t))
		testserver.NewRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
		return "127.0.0.1:" + port, authority
	}
	addr, authority := start("127.0.0.1")
	elsewhere, strange := start("127.0.0.2") // a certificate of another host
	for _, tt := range []struct {
		name, url string
		roots     *x509.CertPool
		want      string
	}{
		{"by the authority given", "rediss://" + addr, authority, ""},
		{"TLS is used for redis:// when it is configured", "redis://" + addr, authority, ""},
		{"by the system's authorities, which do not know it", "rediss://" + addr, nil, "certificate signed by unknown authority"},
		{"by another authority", "rediss://" + addr, strange, "certificate signed by unknown authority"},
		{"the name, too", "rediss://" + elsewhere, strange, "certificate is valid for 127.0.0.2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(addr)
			c.URLs, c.Retries = []string{tt.url}, -1
			if tt.roots != nil {
				c.TLS = &tls.Config{RootCAs: tt.roots}
			}
			b, err := newBackend(c)
			if tt.want != "" {
				wantText(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s, _ := mustOpen(t, b)
			mustCommit(t, s, 1)
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
