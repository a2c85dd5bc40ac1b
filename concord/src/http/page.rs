//! `/`: the page of all customers, side by side. Three files, compiled in; nothing is fetched from elsewhere.

use http::{HeaderValue, header};
use warp::{Filter, filters::BoxedFilter, reply::Response};

fn file(body: &'static str, kind: &'static str) -> Response {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; frame-ancestors 'none'; form-action 'self'"),
    );
    response
}

pub fn routes() -> BoxedFilter<(Response,)> {
    let page = warp::path::end().map(|| file(include_str!("page/index.html"), "text/html; charset=utf-8"));
    let style = warp::path!("page.css").map(|| file(include_str!("page/page.css"), "text/css; charset=utf-8"));
    let script = warp::path!("page.js").map(|| file(include_str!("page/page.js"), "text/javascript; charset=utf-8"));
    warp::get().and(page.or(style).unify().or(script).unify()).boxed()
}
