//! TLS: by a certificate of a private issuer, renewed while it runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use programmatic_users::server::{Platform, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_util::sync::CancellationToken;

use crate::console::{between, open};
use crate::support::{ADMIN, EMAIL, PASSWORD, config};
use crate::wait::{SOON, eventually};

/// An issuer, as companies have their own.
fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a pair for this machine.
fn issue(issuer: &CertifiedIssuer<'static, KeyPair>, folder: &Path) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let paths = (folder.join("tls.crt"), folder.join("tls.key"));
    std::fs::write(&paths.0, certificate.pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}

/// A client that trusts this issuer alone, and opens a connection for each request.
fn client(issuer: &CertifiedIssuer<'static, KeyPair>) -> reqwest::Client {
    let certificate = reqwest::Certificate::from_pem(issuer.pem().as_bytes()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([certificate])
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_platform_speaks_tls_only_and_loads_a_renewed_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (issuer("first"), issuer("second"));
    let (certificate, key) = issue(&first, folder.path());
    let mut with_tls = config(&folder.path().join("data"));
    with_tls.tls = Some(Tls {
        certificate: certificate.clone(),
        key: key.clone(),
        reload: Duration::from_millis(20),
    });
    let platform = Platform::bind(with_tls).await.unwrap();
    assert!(platform.is_tls());
    let at = platform.address();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(platform.serve(stop.clone().cancelled_owned()));

    let url = format!("https://{at}/setup/account");
    let ask = |client: &reqwest::Client| client.get(&url).bearer_auth(ADMIN).send();
    assert_eq!(ask(&client(&first)).await.unwrap().status(), 200);
    assert!(ask(&client(&second)).await.is_err(), "not of this issuer");
    let plain = reqwest::get(format!("http://{at}/setup/account")).await;
    assert!(plain.is_err(), "a token sent in the clear is not answered");

    // The cookie is for TLS only, without another flag.
    let browser = client(&first);
    let form = open(browser.get(format!("https://{at}/console/sign-in"))).await;
    let csrf = between(&form.text, "name=\"csrf\" value=\"", "\"");
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("email", EMAIL), ("password", PASSWORD), ("csrf", csrf)])
        .finish();
    let sent = browser
        .post(format!("https://{at}/console/sign-in"))
        .header("cookie", form.cookie())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    let signed_in = open(sent).await;
    assert_eq!(signed_in.status, 303);
    let is_of_the_host =
        |c: &String| c.starts_with("__Host-") && c.contains("; Path=/;") && c.contains("; Secure");
    assert!(
        signed_in.cookies.iter().all(is_of_the_host)
            && !signed_in.cookies.iter().any(|c| c.contains("Domain")),
        "{:?}",
        signed_in.cookies
    );
    // It is a session by this name only: what came without TLS cannot set it.
    let cookie = signed_in.session();
    let home = async |cookie: String| {
        let home = browser
            .get(format!("https://{at}/console"))
            .header("cookie", cookie);
        open(home).await.status
    };
    let bare = cookie.trim_start_matches("__Host-").to_owned();
    assert_eq!((home(cookie).await, home(bare).await), (200, 303));
    for path in ["/setup/account", "/nowhere", "/console", "/metrics"] {
        let reply = browser.get(format!("https://{at}{path}")).send().await.unwrap();
        assert_eq!(
            reply.headers()["strict-transport-security"],
            "max-age=31536000",
            "{path}"
        );
    }

    // What is no pair changes nothing; a renewed pair is used without a restart.
    std::fs::write(&key, "nonsense").unwrap();
    let unusable = async || {
        let asked = client(&first).get(format!("https://{at}/metrics")).send().await;
        let text = asked.unwrap().text().await.unwrap();
        let seen = text.contains("certificate_renewals_total{outcome=\"unusable\"} 1");
        seen.then_some(()).ok_or(text)
    };
    eventually("the nonsense to be seen", SOON, unusable)
        .await
        .unwrap();
    assert_eq!(ask(&client(&first)).await.unwrap().status(), 200);
    issue(&second, folder.path());
    let renewed = async || match ask(&client(&second)).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    eventually("the renewed certificate", SOON, renewed)
        .await
        .unwrap();
    assert!(ask(&client(&first)).await.is_err());
    stop.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = issue(&issuer("one"), folder.path());
    let bind = async |certificate: &Path, key: &Path| {
        let mut config = config(&folder.path().join("data"));
        config.tls = Some(Tls {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            reload: Duration::from_mins(1),
        });
        Platform::bind(config).await.err().unwrap().to_string()
    };
    let missing = bind(&folder.path().join("nothing"), &key).await;
    assert!(
        missing.starts_with("cannot use the certificate") && missing.contains("nothing"),
        "{missing}"
    );
    let swapped = bind(&key, &certificate).await;
    assert!(swapped.starts_with("cannot use the certificate"), "{swapped}");
    assert!(
        !folder.path().join("data/platform.db").exists(),
        "nothing is made"
    );
}
