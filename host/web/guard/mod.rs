//! Who may ask for what. Every request passes here before anything else sees it.
//!
//! In this order: the Host header (a page on another name cannot pose as this one by its DNS entry), who is asking, and for
//! requests that change something that no other site had a browser send them, that the dashboard is not read-only, and that
//! the caller may.

mod origin;
mod proxies;
mod session;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

pub use self::proxies::{Network, Proxies};
pub use self::session::MAX_SESSIONS;
use self::session::Sessions;
pub use self::tokens::{MIN_TOKEN_BYTES, Role, Tokens};
use super::problem::Problem;
use super::visit::Visit;

/// What a browser may load and do on our pages: nothing but what this process serves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The paths that answer without a token.
const OPEN: [&str; 1] = ["/login"];

/// The settings of access.
#[derive(Debug, Default)]
pub(super) struct Guard {
    pub(super) tokens: Option<Tokens>,
    pub(super) proxies: Option<Proxies>,
    pub(super) sessions: Sessions,
    /// Names under which it may be asked, beside addresses and localhost.
    pub(super) hosts: Vec<String>,
    pub(super) read_only: bool,
    /// The name of whoever asks where no token is needed.
    pub(super) local: String,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) role: Role,
    /// Whether it came by a cookie, and so can log out.
    pub(super) by_session: bool,
    pub(super) read_only: bool,
}

impl Caller {
    /// Whether it may do what takes this role.
    pub(super) fn may(&self, role: Role) -> bool {
        !self.read_only && self.role >= role
    }

    /// # Errors
    /// When it may not.
    pub(super) fn needs(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("this takes the role {role}; {} is {}", self.name, self.role),
        ))
    }
}

/// Passes on what may be asked, with its [`Caller`], and adds the headers that every answer has.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let request_target = request.uri().path_and_query().map(ToString::to_string);
    let is_asset = path.starts_with("/assets/");
    let mut response = match guard.admit(&request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(Denied::Login) if !path.starts_with("/api/") && path != "/events" => {
            let asked = request_target.as_deref().unwrap_or(&path);
            let next = form_urlencoded::byte_serialize(asked.as_bytes()).collect::<String>();
            (StatusCode::SEE_OTHER, [(LOCATION, format!("/login?next={next}"))]).into_response()
        }
        Err(Denied::Login) => Problem::new(StatusCode::UNAUTHORIZED, "this takes a token: Authorization: Bearer …")
            .with(HeaderName::from_static("www-authenticate"), "Bearer")
            .into_response(),
        Err(Denied::Problem(problem)) => problem.into_response(),
    };
    let headers = response.headers_mut();
    let fixed = HeaderValue::from_static;
    headers.insert(CONTENT_SECURITY_POLICY, fixed(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(REFERRER_POLICY, fixed("same-origin"));
    headers.insert("cross-origin-opener-policy", fixed("same-origin"));
    headers.insert("cross-origin-resource-policy", fixed("same-origin"));
    if !is_asset {
        headers.insert(CACHE_CONTROL, fixed("no-store"));
    }
    response
}

/// Why a request is not passed on.
enum Denied {
    Login,
    Problem(Problem),
}

impl Guard {
    /// Whether an address may be listened on with these settings.
    ///
    /// # Errors
    /// When others than this machine could ask without a token.
    pub(super) fn may_listen(&self, address: SocketAddr) -> Result<(), String> {
        if address.ip().is_loopback() || self.tokens.is_some() || self.proxies.is_some() {
            return Ok(());
        }
        Err(format!(
            "{address} can be reached from other machines, and jobs may hold secrets: give --tokens FILE or --trusted-proxy ADDRESS, or listen on 127.0.0.1"
        ))
    }

    fn admit(&self, request: &Request) -> Result<Caller, Denied> {
        let (headers, path) = (request.headers(), request.uri().path());
        let host = origin::host(request).ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "no host"))?;
        if !origin::is_allowed(&host, &self.hosts) {
            let why = format!("{host} is no name of this dashboard; --allow-host adds one");
            return Err(Denied::Problem(Problem::new(StatusCode::MISDIRECTED_REQUEST, why)));
        }
        if !origin::may_read(request) {
            return Err(refuse(StatusCode::FORBIDDEN, "a page of another site asks for this"));
        }
        let is_open = OPEN.contains(&path) || path.starts_with("/assets/");
        let visit = request.extensions().get::<Visit>();
        let caller = match self.caller(headers, visit) {
            Some(caller) => {
                if let Some(visit) = visit {
                    visit.becomes_known();
                }
                caller
            }
            None if is_open => Caller {
                name: String::new(),
                role: Role::Viewer,
                by_session: false,
                read_only: self.read_only,
            },
            None if self.tokens.is_none() => {
                let why = "the proxy in front of this dashboard does not say who asks: it sets X-Forwarded-User";
                return Err(refuse(StatusCode::UNAUTHORIZED, why));
            }
            None => return Err(Denied::Login),
        };
        if is_safe(request.method()) {
            return Ok(caller);
        }
        if !origin::is_own(request, &host) {
            let why = "a request that changes something must come from a page of this dashboard, or be JSON";
            return Err(refuse(StatusCode::FORBIDDEN, why));
        }
        if is_open || path == "/logout" {
            return Ok(caller);
        }
        if self.read_only {
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this dashboard is read-only");
            return Err(Denied::Problem(problem.with(ALLOW, "GET, HEAD")));
        }
        caller.needs(Role::Operator).map_err(Denied::Problem)?;
        Ok(caller)
    }

    /// Who asks; none: nobody who is known.
    fn caller(&self, headers: &HeaderMap, visit: Option<&Visit>) -> Option<Caller> {
        let known = |name: &str, role, by_session| Caller {
            name: name.to_owned(),
            role,
            by_session,
            read_only: self.read_only,
        };
        if let Some(proxies) = self.proxies.as_ref().filter(|proxies| is_from(proxies, visit))
            && let Some(name) = proxies::user(headers)
        {
            let own = self.tokens.as_ref().and_then(|tokens| tokens.named(name));
            return Some(known(name, own.map_or(proxies.role, |own| own.role), false));
        }
        let Some(tokens) = &self.tokens else {
            return self.proxies.is_none().then(|| known(&self.local, Role::Admin, false));
        };
        if let Some(given) = headers.get(AUTHORIZATION) {
            // A wrong token is not made good by a cookie.
            let token = tokens.of(&token(given.to_str().ok()?)?)?;
            return Some(known(&token.name, token.role, false));
        }
        let name = cookies(headers).find_map(|cookies| self.sessions.check(cookies))?;
        let token = tokens.named(&name)?;
        Some(known(&token.name, token.role, true))
    }

    /// Whether a browser came by a proxy that it asked over TLS.
    pub(super) fn is_secure(&self, headers: &HeaderMap, visit: &Visit) -> bool {
        let proxies = self.proxies.as_ref();
        proxies.is_some_and(|proxies| is_from(proxies, Some(visit))) && proxies::is_secure(headers)
    }

    /// The cookie for whoever gives this token; none: there is no such token.
    pub(super) fn log_in(&self, token: &str, secure: bool) -> Option<(String, String)> {
        let token = self.tokens.as_ref()?.of(token.trim())?;
        Some((token.name.clone(), self.sessions.begin(&token.name, secure)?))
    }

    /// Ends the session of whoever asks, and returns the cookie that has the browser forget it.
    pub(super) fn log_out(&self, headers: &HeaderMap, secure: bool) -> String {
        cookies(headers).for_each(|cookies| self.sessions.end(cookies));
        session::none(secure)
    }
}

fn is_from(proxies: &Proxies, visit: Option<&Visit>) -> bool {
    visit.is_some_and(|visit| proxies.are_at(visit.peer))
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(COOKIE).iter().filter_map(|cookie| cookie.to_str().ok())
}

/// The token of an Authorization header: `Bearer …`, or the password of `Basic …`.
fn token(given: &str) -> Option<String> {
    let (scheme, rest) = given.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
        return Some(pair.split_once(':')?.1.to_owned());
    }
    None
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn refuse(status: StatusCode, why: &'static str) -> Denied {
    Denied::Problem(Problem::new(status, why))
}
