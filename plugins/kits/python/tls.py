"""Stands in for the module `ssl`: the host speaks TLS and verifies certificates, always and by its own authorities.

What contexts are told is kept, and changes nothing.
"""

import enum
from typing import Any, NamedTuple

# By its full name: this is loaded as another module.
from kiln.sockets import HttpSocket, Socket

OPENSSL_VERSION = "OpenSSL 3.0.0 (the host's TLS)"
OPENSSL_VERSION_INFO = (3, 0, 0, 0, 0)
OPENSSL_VERSION_NUMBER = 0x30000000
HAS_SNI = HAS_ALPN = HAS_TLSv1_2 = HAS_TLSv1_3 = HAS_NEVER_CHECK_COMMON_NAME = True
HAS_SSLv2 = HAS_SSLv3 = HAS_TLSv1 = HAS_TLSv1_1 = HAS_NPN = HAS_ECDH = HAS_PSK = False
CHANNEL_BINDING_TYPES: list[str] = []


class VerifyMode(enum.IntEnum):
    CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED = range(3)


class TLSVersion(enum.IntEnum):
    MINIMUM_SUPPORTED = -2
    SSLv3 = 768
    TLSv1 = 769
    TLSv1_1 = 770
    TLSv1_2 = 771
    TLSv1_3 = 772
    MAXIMUM_SUPPORTED = -1


class _SSLMethod(enum.IntEnum):
    PROTOCOL_TLS = PROTOCOL_SSLv23 = 2
    PROTOCOL_TLSv1 = 3
    PROTOCOL_TLSv1_1 = 4
    PROTOCOL_TLSv1_2 = 5
    PROTOCOL_TLS_CLIENT = 16
    PROTOCOL_TLS_SERVER = 17


class Options(enum.IntFlag):
    OP_ALL = 0x80000050
    OP_IGNORE_UNEXPECTED_EOF = 0x80
    OP_NO_TICKET = 0x4000
    OP_NO_COMPRESSION = 0x20000
    OP_NO_RENEGOTIATION = 0x40000000
    OP_NO_SSLv2 = 0
    OP_NO_SSLv3 = 0x2000000
    OP_NO_TLSv1 = 0x4000000
    OP_NO_TLSv1_2 = 0x8000000
    OP_NO_TLSv1_1 = 0x10000000
    OP_NO_TLSv1_3 = 0x20000000


class VerifyFlags(enum.IntFlag):
    VERIFY_DEFAULT = 0
    VERIFY_CRL_CHECK_LEAF = 0x4
    VERIFY_CRL_CHECK_CHAIN = 0xC
    VERIFY_X509_STRICT = 0x20
    VERIFY_X509_TRUSTED_FIRST = 0x8000
    VERIFY_X509_PARTIAL_CHAIN = 0x80000


for _kind in VerifyMode, _SSLMethod, Options, VerifyFlags:
    globals().update(_kind.__members__)

SSL_ERROR_SSL, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE = 1, 2, 3
SSL_ERROR_SYSCALL, SSL_ERROR_ZERO_RETURN, SSL_ERROR_EOF = 5, 6, 8


class Purpose(enum.Enum):
    SERVER_AUTH = "server"
    CLIENT_AUTH = "client"


class DefaultVerifyPaths(NamedTuple):
    """Where authorities are looked for elsewhere."""

    cafile: str | None = None
    capath: str | None = None
    openssl_cafile_env: str = "SSL_CERT_FILE"
    openssl_cafile: str = ""
    openssl_capath_env: str = "SSL_CERT_DIR"
    openssl_capath: str = ""


get_default_verify_paths = DefaultVerifyPaths


class SSLError(OSError):
    """TLS failed, or the server could not prove who it is."""

    library = "SSL"
    reason = "TLS"


class SSLZeroReturnError(SSLError): ...


class SSLWantReadError(SSLError): ...


class SSLWantWriteError(SSLError): ...


class SSLSyscallError(SSLError): ...


class SSLEOFError(SSLError): ...


class SSLCertVerificationError(SSLError, ValueError): ...


CertificateError = SSLCertVerificationError


class SSLContext:
    """Keeps what it is told."""

    def __init__(self, protocol: int = _SSLMethod.PROTOCOL_TLS) -> None:
        self.protocol = protocol
        self.check_hostname = True
        self.verify_mode = VerifyMode.CERT_REQUIRED
        self.verify_flags = VerifyFlags.VERIFY_X509_TRUSTED_FIRST
        self.options = Options.OP_ALL
        self.minimum_version = TLSVersion.TLSv1_2
        self.maximum_version = TLSVersion.MAXIMUM_SUPPORTED
        self.post_handshake_auth = False
        self.hostname_checks_common_name = False
        self.keylog_filename = None
        self.sni_callback = None

    def load_cert_chain(self, *_: object, **__: object) -> None:
        raise SSLError("certificates of clients are not supported: the host speaks TLS")

    def _accept(self, *_: object, **__: object) -> None:
        """The host has its own."""

    load_verify_locations = load_default_certs = set_default_verify_paths = _accept
    set_ciphers = set_alpn_protocols = set_npn_protocols = set_ecdh_curve = _accept

    def get_ca_certs(self, binary_form: bool = False) -> list:
        return []

    get_ciphers = get_ca_certs

    def cert_store_stats(self) -> dict[str, int]:
        return {"x509": 1, "crl": 0, "x509_ca": 1}

    def wrap_socket(self, sock: Socket, *_: object, server_hostname: str | None = None, **__: object) -> Socket:
        kind = SSLSocket if isinstance(sock, HttpSocket) else TlsSocket
        return kind(sock, self, server_hostname)

    def wrap_bio(self, *_: object, **__: object) -> Any:
        raise SSLError("the host speaks TLS: there is none over anything but its connections")


class SSLObject:
    """Never made; there for those who ask whether something is one."""


class SSLSession:
    """Likewise."""


class MemoryBIO:
    """Likewise."""


class _Tls:
    """What sockets with TLS have and others have not."""

    def __init__(self, sock: Socket, context: SSLContext, server_hostname: str | None) -> None:
        super().__init__(sock.family, sock.type, sock.proto)
        self.context = context
        self.server_hostname = server_hostname
        self.server_side = False
        self.session = None
        self._timeout = sock.gettimeout()
        self._connection = sock._connection
        sock.detach()
        if self._connection is not None:
            self._secure()

    def do_handshake(self, block: bool = False) -> None:
        """The host does."""

    def getpeercert(self, binary_form: bool = False) -> Any:
        return b"" if binary_form else {}

    def version(self) -> str:
        return "TLSv1.3"

    def cipher(self) -> tuple[str, str, int]:
        return ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)

    def pending(self) -> int:
        return int(self._connection is not None and self._connection.has_some())

    def selected_alpn_protocol(self) -> None:
        return None

    selected_npn_protocol = compression = selected_alpn_protocol

    def unwrap(self) -> Socket:
        return self


class SSLSocket(_Tls, HttpSocket):
    """A socket whose requests are sent with TLS."""

    def connect(self, address: tuple) -> None:
        super().connect(address)
        self._secure()

    def _secure(self) -> None:
        self._connection.tls = True


class TlsSocket(_Tls, Socket):
    """A TCP connection with TLS.

    It is no SSLSocket: of one, clients of databases ask the certificate, to bind their passwords to it, and the host does
    not tell it.
    """

    def _stand(self) -> None:
        super()._stand()
        self._secure()

    def _secure(self) -> None:
        self.start_tls(self.server_hostname)


def create_default_context(purpose: Purpose = Purpose.SERVER_AUTH, **_: object) -> SSLContext:
    return SSLContext(_SSLMethod.PROTOCOL_TLS_CLIENT)


_create_default_https_context = create_default_context


def _create_unverified_context(*_: object, **__: object) -> SSLContext:
    """Verified all the same."""
    return create_default_context()


_create_stdlib_context = _create_unverified_context
