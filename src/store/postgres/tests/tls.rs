//! Connections over TLS, to a server with a certificate of its own.

use std::process::Command;

use super::*;
use crate::sandbox::postgres::Ending;

/// A loopback address of its own, so that the server's usual port is free there.
const ADDRESS: &str = "127.0.54.32";

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn the_servers_certificate_is_checked_as_the_address_says() {
    let cluster = Cluster::start(Place::Memory, "").unwrap();
    let made = rcgen::generate_simple_self_signed([ADDRESS.to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed([ADDRESS.to_owned()]).unwrap();
    let file = |name: &str, text: &str| {
        let path = cluster.folder().join(name);
        std::fs::write(&path, text).unwrap();
        // The key must be the server's own.
        let owned = Command::new("chown").arg("--reference").arg(cluster.folder()).arg(&path).status().unwrap();
        let private = Command::new("chmod").arg("600").arg(&path).status().unwrap();
        assert!(owned.success() && private.success());
        path.display().to_string()
    };
    let (root, key) = (file("server.crt", &made.cert.pem()), file("server.key", &made.signing_key.serialize_pem()));
    let stranger = file("other.crt", &other.cert.pem());
    let open = async |query: &str| {
        let url = format!("postgres://bondflow@{ADDRESS}/postgres?{query}");
        PostgresStore::open(&url, TABLES, OpenMode::Daemon, Reckoning::Database).await
    };

    cluster.stop(Ending::Fast).unwrap();
    cluster.again(&format!("-c listen_addresses={ADDRESS}")).unwrap();
    let refused = open("sslmode=require").await.err().unwrap().to_string();
    assert!(refused.contains("TLS"), "a server without it: {refused}");

    cluster.stop(Ending::Fast).unwrap();
    let tls = format!("-c listen_addresses={ADDRESS} -c ssl=on -c ssl_cert_file={root} -c ssl_key_file={key}");
    cluster.again(&tls).unwrap();
    let refused = open(&format!("sslmode=verify-full&sslrootcert={stranger}")).await.err().unwrap().to_string();
    assert!(refused.contains("certificate"), "another's certificate: {refused}");
    let store = open(&format!("sslmode=verify-full&sslrootcert={root}")).await.unwrap();
    claimed(&store, "a").await;
    store.close().await;
}
