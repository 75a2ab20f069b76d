//! Pushes an image to a registry on loopback: the few requests of the distribution specification, over plain HTTP
//! with std alone, one connection a request.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use crate::image::{Blob, Image, MANIFEST_TYPE};
use crate::{Result, disk};

/// Uploads the blobs, then the manifest under its tag.
pub fn image(registry: SocketAddr, repository: &str, tag: &str, image: &Image) -> Result {
    let layers = image.layers.iter().map(|layer| &layer.blob);
    for blob in layers.chain([&image.config]) {
        upload(registry, repository, blob)?;
    }
    let target = format!("/v2/{repository}/manifests/{tag}");
    let put = Request { method: "PUT", target: &target, media_type: MANIFEST_TYPE, body: Some(&image.manifest.file) };
    put.send(registry, 201).map(drop)
}

fn upload(registry: SocketAddr, repository: &str, blob: &Blob) -> Result {
    let uploads = format!("/v2/{repository}/blobs/uploads/");
    let media_type = "application/octet-stream";
    let post = Request { method: "POST", target: &uploads, media_type, body: None };
    let target = upload_target(&post.send(registry, 202)?, &blob.digest)?;
    let put = Request { method: "PUT", target: &target, media_type, body: Some(&blob.file) };
    put.send(registry, 201).map(drop)
}

/// Where the registry wants the blob, by its `Location`, with the digest that ends the upload.
fn upload_target(head: &str, digest: &str) -> Result<String> {
    let location = header(head, "location").ok_or("upload without a Location")?;
    let after_scheme = location.split_once("://").map(|(_, rest)| rest);
    let target = match after_scheme {
        Some(rest) => rest.find('/').map_or("/", |start| &rest[start..]),
        None => location,
    };
    let joint = if target.contains('?') { '&' } else { '?' };
    Ok(format!("{target}{joint}digest={digest}"))
}

struct Request<'a> {
    method: &'a str,
    target: &'a str,
    media_type: &'a str,
    body: Option<&'a Path>,
}

impl Request<'_> {
    /// Sends the request and gives the head of the answer, which must have this status.
    fn send(&self, registry: SocketAddr, expected: u16) -> Result<String> {
        let noun = format!("{} http://{registry}{}", self.method, self.target);
        let body = self.body.map(disk::open).transpose()?;
        let answer = self.exchange(registry, body).map_err(|e| format!("{noun}: {e}"))?;
        match answer.split(' ').nth(1) {
            Some(status) if status == expected.to_string() => Ok(answer),
            _ => Err(format!("{noun}: expected {expected}, got {answer}")),
        }
    }

    fn exchange(&self, registry: SocketAddr, body: Option<File>) -> io::Result<String> {
        let Self { method, target, media_type, .. } = self;
        let length = body.as_ref().map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()))?;
        let mut stream = TcpStream::connect(registry)?;
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: {registry}\r\nConnection: close\r\n\
             Content-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n"
        )?;
        if let Some(mut file) = body {
            io::copy(&mut file, &mut stream)?;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_may_be_a_url_or_a_path_with_or_without_a_query() {
        let check = |location: &str, expected: &str| {
            let head = format!("HTTP/1.1 202 Accepted\r\nLOCATION: {location}\r\n\r\nLocation: body");
            assert_eq!(upload_target(&head, "sha256:ab").unwrap(), expected);
        };
        check("http://127.0.0.1:5000/v2/a/uploads/1?s=2", "/v2/a/uploads/1?s=2&digest=sha256:ab");
        check("/v2/a/uploads/1", "/v2/a/uploads/1?digest=sha256:ab");
        assert!(upload_target("HTTP/1.1 202 Accepted\r\n\r\nLocation: x", "sha256:ab").is_err());
    }
}
