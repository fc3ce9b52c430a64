//! Proxies that are measured where they are installed, with configurations made here.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{error::Result, target::Face, tls::CertificateFiles};

/// Name, program, and how its configuration is made.
pub struct External {
    pub name: &'static str,
    program: &'static str,
    version: &'static str,
}

pub const ALL: &[External] = &[
    External {
        name: "haproxy",
        program: "haproxy",
        version: "-v",
    },
    External {
        name: "nginx",
        program: "nginx",
        version: "-v",
    },
    External {
        name: "nginx-64k",
        program: "nginx",
        version: "-v",
    },
    External {
        name: "nginx-256k",
        program: "nginx",
        version: "-v",
    },
    External {
        name: "caddy",
        program: "caddy",
        version: "version",
    },
];

impl External {
    /// Whether it takes part where clients come in this way: Debian's nginx knows no WebSockets on
    /// HTTP/2.
    pub fn serves(&self, face: Face) -> bool {
        match face {
            Face::Plain => true,
            Face::Tls => matches!(self.name, "haproxy" | "nginx" | "caddy"),
            Face::Http2 => self.name == "haproxy",
        }
    }

    pub fn is_installed(&self) -> bool {
        self.path().is_some()
    }

    fn path(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
        places
            .map(|place| place.join(self.program))
            .find(|file| file.is_file())
    }

    /// The first line of the program's version output.
    pub fn version(&self) -> Option<String> {
        let mut command = Command::new(self.path()?);
        let said = command.arg(self.version).output().ok()?;
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        text.lines().next().map(str::to_owned)
    }

    /// A command that serves in the foreground with two workers.
    pub fn command(
        &self,
        face: Face,
        listen: SocketAddr,
        upstream: SocketAddr,
        certificate: &CertificateFiles,
        directory: &Path,
    ) -> Result<Command> {
        let directory = std::path::absolute(directory.join(format!("{}-{face:?}", self.name)))?;
        fs::create_dir_all(&directory)?;
        let file = directory.join("conf");
        let configuration = self.configuration(face, listen, upstream, certificate, &directory);
        fs::write(&file, configuration)?;
        let program = self.path().ok_or("not installed")?;
        let mut command = Command::new(program);
        match self.program {
            "haproxy" => command.arg("-db").arg("-f").arg(file),
            "nginx" => command.arg("-p").arg(&directory).arg("-c").arg(file),
            _ => command
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(file)
                .env("GOMAXPROCS", "2")
                .env("HOME", &directory),
        };
        command.stderr(Stdio::null());
        Ok(command)
    }

    fn configuration(
        &self,
        face: Face,
        listen: SocketAddr,
        upstream: SocketAddr,
        certificate: &CertificateFiles,
        directory: &Path,
    ) -> String {
        match self.program {
            "haproxy" => {
                let bind = match face {
                    Face::Plain => listen.to_string(),
                    Face::Tls => format!("{listen} ssl crt {}", certificate.both().display()),
                    Face::Http2 => format!("{listen} proto h2"),
                };
                haproxy(&bind, upstream)
            }
            "nginx" => {
                let tls = match face {
                    Face::Plain | Face::Http2 => String::new(),
                    Face::Tls => nginx_tls(certificate),
                };
                let buffer = self.name.strip_prefix("nginx-").unwrap_or("4k");
                nginx(listen, &tls, upstream, buffer, directory)
            }
            _ => {
                let tls = match face {
                    Face::Plain | Face::Http2 => String::new(),
                    Face::Tls => caddy_tls(certificate),
                };
                caddy(listen.port(), &tls, upstream)
            }
        }
    }
}

fn haproxy(bind: &str, upstream: SocketAddr) -> String {
    format!(
        "global\n  nbthread 2\n  maxconn 9900\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         \x20 timeout tunnel 1h\n  http-reuse always\n\
         frontend in\n  bind {bind}\n  option forwardfor\n  default_backend out\n\
         backend out\n  server one {upstream}\n"
    )
}

fn nginx_tls(certificate: &CertificateFiles) -> String {
    format!(
        "    ssl_certificate {};\n    ssl_certificate_key {};\n    ssl_protocols TLSv1.3;\n\
         \x20   ssl_session_cache shared:tls:10m;\n",
        certificate.chain().display(),
        certificate.key().display()
    )
}

fn nginx(
    listen: SocketAddr,
    tls: &str,
    upstream: SocketAddr,
    buffer: &str,
    directory: &Path,
) -> String {
    let directory = directory.display();
    let ssl = if tls.is_empty() { "" } else { " ssl" };
    format!(
        "daemon off;\nworker_processes 2;\nworker_rlimit_nofile 20000;\n\
         pid {directory}/pid;\nerror_log {directory}/error.log crit;\n\
         events {{ worker_connections 20000; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {directory}/body;\n\
         \x20 proxy_temp_path {directory}/proxy;\n  fastcgi_temp_path {directory}/fastcgi;\n\
         \x20 uwsgi_temp_path {directory}/uwsgi;\n  scgi_temp_path {directory}/scgi;\n\
         \x20 keepalive_requests 100000000;\n  client_max_body_size 0;\n\
         \x20 map $http_upgrade $connection_to_upstream {{ default upgrade; '' ''; }}\n\
         \x20 upstream out {{\n    server {upstream};\n    keepalive 128;\n\
         \x20   keepalive_requests 100000000;\n  }}\n\
         \x20 server {{\n    listen {listen} backlog=4096{ssl};\n{tls}    location / {{\n\
         \x20     proxy_pass http://out;\n      proxy_http_version 1.1;\n\
         \x20     proxy_set_header Upgrade $http_upgrade;\n\
         \x20     proxy_set_header Connection $connection_to_upstream;\n\
         \x20     proxy_set_header Host $host;\n\
         \x20     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         \x20     proxy_request_buffering off;\n      proxy_max_temp_file_size 0;\n\
         \x20     proxy_buffer_size {buffer};\n      proxy_buffers 8 {buffer};\n\
         \x20     proxy_read_timeout 1h;\n\
         \x20     proxy_send_timeout 1h;\n    }}\n  }}\n}}\n"
    )
}

fn caddy_tls(certificate: &CertificateFiles) -> String {
    let (chain, key) = (certificate.chain(), certificate.key());
    format!("\ttls {} {}\n", chain.display(), key.display())
}

fn caddy(port: u16, tls: &str, upstream: SocketAddr) -> String {
    format!(
        "{{\n\tadmin off\n\tauto_https off\n}}\n:{port} {{\n\tbind 127.0.0.1\n{tls}\
         \treverse_proxy {upstream}\n}}\n"
    )
}
