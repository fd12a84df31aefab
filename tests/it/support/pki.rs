//! Certificates made by the openssl command line tool, as odd as a recipe asks for, and servers
//! that show them. rcgen can make none of the broken ones, and a second implementation is the
//! independent witness. Keys live in a temporary folder and die with it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::tools;

/// Whether tests against openssl can run. Where it is missing they say so and pass, unless
/// `KIMGATE_REQUIRE_INTEROP=1` turns that into a failure.
pub(crate) fn openssl_is_here() -> bool {
    tools::have(&["openssl"])
}

/// How a certificate is made, as words: `key=p256 by=ca san=DNS:kim.test from=-1 to=365`.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Kind of key; see [`Pki::key`].
    pub(crate) key: String,
    /// `self`, or the name of a certificate made before.
    pub(crate) by: String,
    /// Common name; `_` stands for a blank.
    pub(crate) cn: String,
    /// openssl's subjectAltName; `none` for none.
    pub(crate) san: String,
    /// Days from now until it begins and until it ends.
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// Digest of the signature.
    pub(crate) md: String,
    /// The signature is RSA-PSS.
    pub(crate) pss: bool,
    /// basicConstraints, keyUsage, extendedKeyUsage as openssl writes them.
    pub(crate) ca: Option<String>,
    pub(crate) ku: Option<String>,
    pub(crate) eku: Option<String>,
    /// An unknown extension, marked critical.
    pub(crate) critical: bool,
    /// X.509 version 1: no extensions at all.
    pub(crate) v1: bool,
    /// What is changed after signing.
    pub(crate) tamper: Option<Tamper>,
    /// The name of a certificate to send after it.
    pub(crate) send: Option<String>,
}

/// What is changed after signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tamper {
    /// A letter in an extension.
    Body,
    /// The last bit of the signature.
    Signature,
    /// A byte after the end.
    Behind,
    /// The last byte is missing.
    Short,
}

impl FromStr for Recipe {
    type Err = String;

    fn from_str(words: &str) -> Result<Self, String> {
        let mut recipe = Self {
            key: "p256".into(),
            by: "self".into(),
            cn: "kim.test".into(),
            san: "DNS:kim.test".into(),
            from: -1,
            to: 365,
            md: "sha256".into(),
            pss: false,
            ca: None,
            ku: None,
            eku: None,
            critical: false,
            v1: false,
            tamper: None,
            send: None,
        };
        for word in words.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let text = value.to_owned();
            match key {
                "key" => recipe.key = text,
                "by" => recipe.by = text,
                "cn" => recipe.cn = text.replace('_', " "),
                "san" => recipe.san = text,
                "from" => recipe.from = value.parse().map_err(|_| word.to_owned())?,
                "to" => recipe.to = value.parse().map_err(|_| word.to_owned())?,
                "md" => recipe.md = text,
                "pss" => recipe.pss = true,
                "ca" => recipe.ca = Some(text),
                "ku" => recipe.ku = Some(text),
                "eku" => recipe.eku = Some(text),
                "critical" => recipe.critical = true,
                "v1" => recipe.v1 = true,
                "send" => recipe.send = Some(text),
                "tamper" => {
                    recipe.tamper = Some(match value {
                        "body" => Tamper::Body,
                        "signature" => Tamper::Signature,
                        "behind" => Tamper::Behind,
                        "short" => Tamper::Short,
                        _ => return Err(word.to_owned()),
                    });
                }
                _ => return Err(word.to_owned()),
            }
        }
        Ok(recipe)
    }
}

/// A certificate and what belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// PEM, leaf only.
    pub(crate) certificate: PathBuf,
    /// The leaf in DER.
    pub(crate) der: Vec<u8>,
    pub(crate) private_key: PathBuf,
    /// PEM of what is sent after it.
    pub(crate) send: Option<PathBuf>,
}

/// A folder full of keys and certificates.
pub(crate) struct Pki {
    dir: TempDir,
    made: HashMap<String, Made>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), made: HashMap::new() }
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What was made under this name.
    pub(crate) fn get(&self, name: &str) -> &Made {
        self.made.get(name).unwrap_or_else(|| panic!("{name} must be made first"))
    }

    /// A key of this kind, made once: rsa1024 … rsa4096, p224 … p521, secp256k1, bp256 … bp512,
    /// ed25519, ed448. A second word after a dot makes another key of the kind: `p256.ca`.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        let path = self.path(&format!("{name}.key"));
        if path.exists() {
            return path;
        }
        let kind = name.split('.').next().unwrap();
        let file = path.to_str().unwrap().to_owned();
        let mut args = vec!["genpkey", "-out", &file, "-algorithm"];
        let option;
        match kind {
            "ed25519" | "ed448" => args.push(kind),
            _ => {
                let (algorithm, value) = if let Some(bits) = kind.strip_prefix("rsa") {
                    ("RSA", format!("rsa_keygen_bits:{bits}"))
                } else {
                    ("EC", format!("ec_paramgen_curve:{}", curve(kind)))
                };
                option = value;
                args.extend([algorithm, "-pkeyopt", &option]);
            }
        }
        openssl(&args);
        path
    }

    /// Makes a certificate and keeps it under this name.
    pub(crate) fn make(&mut self, name: &str, recipe: &Recipe) -> &Made {
        let certificate = self.path(&format!("{name}.pem"));
        let key = self.key(&recipe.key);
        let request = self.request(&recipe.key, &key, &recipe.cn);
        if recipe.v1 {
            self.sign_v1(recipe, &request, &key, &certificate);
        } else {
            self.sign(name, recipe, &request, &key, &certificate);
        }
        let mut der = CertificateDer::from_pem_file(&certificate).unwrap().to_vec();
        if let Some(tamper) = recipe.tamper {
            alter(&mut der, tamper);
            std::fs::write(&certificate, pem(&der)).unwrap();
        }
        let send = recipe.send.as_ref().map(|name| self.get(name).certificate.clone());
        let made = Made { certificate, der, private_key: key, send };
        self.made.insert(name.to_owned(), made);
        self.get(name)
    }

    /// A signing request, made once for each key and name.
    fn request(&self, name: &str, key: &Path, cn: &str) -> PathBuf {
        let request = self.path(&format!("{name}.{}.csr", cn.replace(' ', "_")));
        if !request.exists() {
            let (subject, out) = (format!("/CN={cn}"), text(&request));
            openssl(&["req", "-new", "-key", text(key), "-subj", &subject, "-out", out]);
        }
        request
    }

    /// `openssl ca` is the one command of openssl 3.0 that takes both dates.
    fn sign(&self, name: &str, recipe: &Recipe, request: &Path, key: &Path, out: &Path) {
        let work = self.path(&format!("{name}.d"));
        std::fs::create_dir(&work).unwrap();
        std::fs::write(work.join("index.txt"), "").unwrap();
        let config = work.join("ca.cnf");
        std::fs::write(&config, configuration(&work, recipe)).unwrap();
        let (begins, ends) = (moment(recipe.from), moment(recipe.to));
        let mut args = vec![
            "ca",
            "-batch",
            "-notext",
            "-config",
            text(&config),
            "-in",
            text(request),
            "-out",
            text(out),
            "-md",
            &recipe.md,
            "-startdate",
            &begins,
            "-enddate",
            &ends,
        ];
        if recipe.by == "self" {
            args.extend(["-selfsign", "-keyfile", text(key)]);
        } else {
            let signer = self.get(&recipe.by);
            args.extend(["-keyfile", text(&signer.private_key), "-cert"]);
            args.push(text(&signer.certificate));
        }
        if recipe.pss {
            args.extend(["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]);
        }
        openssl(&args);
    }

    fn sign_v1(&self, recipe: &Recipe, request: &Path, key: &Path, out: &Path) {
        let mut args =
            vec!["x509", "-req", "-in", text(request), "-out", text(out), "-days", "365"];
        if recipe.by == "self" {
            args.extend(["-signkey", text(key)]);
        } else {
            let signer = self.get(&recipe.by);
            args.extend(["-CA", text(&signer.certificate), "-CAkey", text(&signer.private_key)]);
            args.push("-CAcreateserial");
        }
        openssl(&args);
    }
}

/// `openssl s_server` with one certificate, until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it on a port of its own choice; `None` if openssl does not want this certificate.
    pub(crate) fn start(made: &Made, options: &[&str]) -> Option<Self> {
        let mut command = Command::new("openssl");
        command
            .args(["s_server", "-accept", "127.0.0.1:0", "-www"])
            .args(["-cert", text(&made.certificate), "-key", text(&made.private_key)])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(send) = &made.send {
            command.args(["-cert_chain", text(send)]);
        }
        let mut child = command.spawn().unwrap();
        // It prints "ACCEPT 127.0.0.1:port" once it listens, or ends without.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            line.strip_prefix("ACCEPT ").and_then(|address| address.trim().parse().ok())
        });
        // Whatever it prints later must not fill the pipe.
        std::thread::spawn(move || lines.count());
        match address {
            Some(address) => Some(Self { child, address }),
            None => {
                let _ = child.wait();
                None
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs openssl and gives its output; a failure is the test's.
pub(crate) fn openssl(args: &[&str]) -> Vec<u8> {
    let out = Command::new("openssl").args(args).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "openssl {}: {errors}", args.join(" "));
    out.stdout
}

fn configuration(work: &Path, recipe: &Recipe) -> String {
    let work = text(work);
    let mut config = format!(
        "[ca]\ndefault_ca = here\n[here]\ndatabase = {work}/index.txt\nnew_certs_dir = {work}\n\
         rand_serial = yes\nunique_subject = no\npolicy = any\nx509_extensions = v3\n\
         [any]\ncommonName = optional\n[v3]\nnsComment = original\n"
    );
    let mut line = |key: &str, value: &str| writeln!(config, "{key} = {value}").unwrap();
    if recipe.san != "none" {
        line("subjectAltName", &recipe.san);
    }
    for (key, value) in [
        ("basicConstraints", &recipe.ca),
        ("keyUsage", &recipe.ku),
        ("extendedKeyUsage", &recipe.eku),
    ] {
        if let Some(value) = value {
            line(key, &format!("critical,{value}"));
        }
    }
    if recipe.critical {
        line("1.2.3.4.5", "critical,ASN1:UTF8String:unknown");
    }
    config
}

fn alter(der: &mut Vec<u8>, tamper: Tamper) {
    match tamper {
        Tamper::Body => {
            let at = der.windows(8).position(|part| part == b"original").unwrap();
            der[at..at + 8].copy_from_slice(b"tampered");
        }
        Tamper::Signature => *der.last_mut().unwrap() ^= 1,
        Tamper::Behind => der.push(0),
        Tamper::Short => {
            der.pop();
        }
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).unwrap());
        out.push('\n');
    }
    out + "-----END CERTIFICATE-----\n"
}

fn curve(kind: &str) -> &str {
    match kind {
        "p224" => "secp224r1",
        "p256" => "prime256v1",
        "p384" => "secp384r1",
        "p521" => "secp521r1",
        "bp256" => "brainpoolP256r1",
        "bp384" => "brainpoolP384r1",
        "bp512" => "brainpoolP512r1",
        other => other,
    }
}

/// As `openssl ca` wants it.
fn moment(days: i64) -> String {
    let then = OffsetDateTime::now_utc() + Duration::days(days);
    format!("{:04}{:02}{:02}120000Z", then.year(), u8::from(then.month()), then.day())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
