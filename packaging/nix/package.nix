{
  lib,
  installShellFiles,
  rustPlatform,
}:
let
  root = ../..;
  manifest = (builtins.fromTOML (builtins.readFile (root + "/Cargo.toml"))).package;
in
rustPlatform.buildRustPackage {
  pname = manifest.name;
  inherit (manifest) version;

  src = lib.cleanSource root;
  cargoLock.lockFile = root + "/Cargo.lock";
  cargoBuildFlags = [ "--package=pullet" ];

  # The integration tests need a registry and other programs.
  cargoTestFlags = [
    "--package=pullet"
    "--lib"
  ];

  nativeBuildInputs = [ installShellFiles ];

  postInstall = ''
    installManPage share/man/man1/*.1
    installShellCompletion --bash share/bash-completion/completions/pullet --fish share/fish/vendor_completions.d/pullet.fish \
      --zsh share/zsh/site-functions/_pullet
    install -Dm644 -t $out/share/doc/pullet README.md SECURITY.md CHANGELOG.md
    install -Dm755 -t $out/lib/dracut/modules.d/90pullet examples/initramfs/dracut/90pullet/*.sh
  '';

  meta = {
    inherit (manifest) description homepage;
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "pullet";
    platforms = lib.platforms.linux;
  };
}
