//! Puts the library's advice into words: which option or command helps.

use pullet::{Advice, Error, Limit};

/// The hint line for an error, if there is a remedy.
pub(crate) fn hint(error: &Error) -> Option<String> {
    error.advice().and_then(describe).or_else(|| error.hint().map(|hint| hint.to_string()))
}

fn describe(advice: &Advice) -> Option<String> {
    let text = match advice {
        Advice::AllowDowngrade => "if you want the older image, use --allow-downgrade",
        Advice::AllowForeignLayers => "--allow-foreign-layers fetches such layers from the URLs in the manifest",
        Advice::AllowLongerStall => "--stall-timeout sets how long to wait for a response or its next bytes",
        Advice::AllowMoreTime => "--timeout sets the longest time for the whole command",
        Advice::AllowPlainHttp => {
            "use a build with the feature \"tls\", or allow plain HTTP with --insecure-registry HOST[:PORT]"
        }
        Advice::AuthenticateForHigherLimit => {
            "try again later, or use --creds USER: accounts have higher limits than anonymous users"
        }
        Advice::CheckCredentials => {
            "check the user name and the password; some registries require an access token in place of the password; pullet \
             config NAME shows which credentials a pull uses"
        }
        Advice::ChoosePlatform(offered) => {
            return Some(format!("this name offers {}: choose with --platform", offered.join(", ")));
        }
        Advice::ConfigureMirror => {
            "name a mirror with --registry-mirror, or in registries.conf, hosts.toml or daemon.json"
        }
        Advice::FetchAsArtifact(name) => return Some(format!("pullet artifact {name} DIR fetches its files")),
        Advice::FetchAsImage => "use pullet pull to fetch an image, or pullet unpack to unpack its root filesystem",
        Advice::FetchTheRest => "run the command again, then or later: it goes on where this run ended (--max-bytes)",
        Advice::ForceRemoval => "-f removes the image with all its names",
        Advice::GiveAuthFile => "name the file with --authfile FILE",
        Advice::GiveAuthority => {
            "add the CA certificate of the registry with --ca-file, or for the whole machine as \
             /etc/containers/certs.d/HOST[:PORT]/ca.crt"
        }
        Advice::GiveClientCertificate => "use --client-cert and --client-key",
        Advice::GiveCommandLine => "mount it (mount -t proc proc /proc), or name a file with --cmdline",
        Advice::GiveCredentials => {
            "use pullet login or --creds USER, and check the name: registries give the same answer for names that do \
             not exist"
        }
        Advice::GiveKey => {
            "give a key with --verify-key, or a policy; --disable-content-trust ignores $DOCKER_CONTENT_TRUST"
        }
        Advice::ListAsInsecure(host) => {
            return Some(format!(
                "if you trust the network, use --insecure-registry {host}, or list {host} as insecure in registries.conf \
                 or daemon.json"
            ));
        }
        Advice::ListBootParameters => "pullet boot --help lists the parameters",
        Advice::PinDigest => "set this machine's clock, or use NAME@DIGEST (pullet.digest= on the kernel command line)",
        Advice::SetClock => {
            "set this machine's clock if it is wrong; until then, --clock floor fetches images that are named by digest"
        }
        Advice::Pull(name) => return Some(format!("pullet pull {name}")),
        Advice::RaiseLimit(limit) => return raise(*limit),
        Advice::RepairStore => "pullet verify --remove-corrupt, then pull again",
        Advice::SignImagesOfIndex => {
            "if the name is one image of an index that is signed: the publisher can sign its images too, with cosign sign --recursive"
        }
        Advice::SkipDevices => "--no-devices leaves device nodes out",
        Advice::SwapSymlink => "--symlink makes the target a symlink, which works on every filesystem",
        Advice::TrustTokenRealm(host) => return Some(format!("if you trust it, use --token-realm {host}")),
        Advice::UnpackFromStore => "unpack it without --stream",
        Advice::MendStore => {
            "the store's own files are damaged: pullet pull and pullet verify --remove-corrupt rebuild them from what is good"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn raise(limit: Limit) -> Option<String> {
    let option = match limit {
        Limit::Depth => "--max-depth",
        Limit::Entries => "--max-entries",
        Limit::Unpacked => "--max-unpacked",
        Limit::ZstdWindow => "--max-zstd-window",
        _ => return None,
    };
    Some(format!("{option} raises this limit, for images that you trust"))
}
