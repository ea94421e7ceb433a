//! Certificates made by the JDK's `keytool`: an authority, and what it signs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Opens every keystore.
pub const STORE_PASSWORD: &str = "test-store";

/// A certificate authority in a folder of its own.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Makes a key and a certificate that says so of itself.
    pub fn new(folder: &Path, name: &str) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).expect("a folder");
        let authority = Self { folder };
        authority.key_pair("ca", &["-ext", "bc:c=ca:true", "-ext", "ku:c=keyCertSign"]);
        let pem = authority.pem();
        let pem = pem.to_str().expect("UTF-8");
        authority.keytool("ca", &["-exportcert", "-rfc", "-alias", "ca", "-file", pem]);
        authority
    }

    /// Its certificate, as `ssl.ca.location` wants it.
    pub fn pem(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A keystore with a key and a certificate for `127.0.0.1`, and for no name.
    pub fn sign_for_loopback(&self) -> PathBuf {
        let path = |name: &str| self.folder.join(name).to_str().expect("UTF-8").to_owned();
        let (request, signed, ca) = (path("request"), path("signed"), path("ca.pem"));
        self.key_pair("broker", &[]);
        self.keytool(
            "broker",
            &["-certreq", "-alias", "broker", "-file", &request],
        );
        let sign = [
            "-gencert",
            "-rfc",
            "-alias",
            "ca",
            "-ext",
            "san=ip:127.0.0.1",
        ];
        let files = ["-validity", "2", "-infile", &request, "-outfile", &signed];
        self.keytool("ca", &[&sign[..], &files].concat());
        let import = ["-importcert", "-noprompt"];
        for (alias, file) in [("ca", &ca), ("broker", &signed)] {
            let what = ["-alias", alias, "-file", file];
            self.keytool("broker", &[&import[..], &what].concat());
        }
        self.store("broker")
    }

    fn key_pair(&self, alias: &str, more: &[&str]) {
        let name = format!("CN=vila2 test {alias}");
        let make = ["-genkeypair", "-alias", alias, "-dname", &name];
        let kind = ["-keyalg", "EC", "-groupname", "secp256r1", "-validity", "2"];
        self.keytool(alias, &[&make[..], &kind, more].concat());
    }

    fn keytool(&self, store: &str, arguments: &[&str]) {
        let output = Command::new("keytool")
            .args(arguments)
            .arg("-keystore")
            .arg(self.store(store))
            .args(["-storetype", "PKCS12", "-storepass", STORE_PASSWORD])
            .output()
            .unwrap_or_else(|error| panic!("cannot run the JDK's keytool: {error}"));
        assert!(
            output.status.success(),
            "keytool {arguments:?}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    fn store(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.p12"))
    }
}
