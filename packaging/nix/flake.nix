# nix run 'github:pullet-rs/pullet?dir=packaging/nix' -- pull debian:stable
{
  description = "docker pull for small machines";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "armv7l-linux"
        "i686-linux"
        "riscv64-linux"
      ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: {
        default = pkgs.callPackage ./package.nix { };
        # One file without shared libraries, for an initramfs.
        static = pkgs.pkgsStatic.callPackage ./package.nix { };
      });
    };
}
