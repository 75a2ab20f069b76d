#compdef pullet
# zsh completion for pullet. pullet itself finds the words.
_pullet() {
    local word about
    local -a found
    while IFS=$'\t' read -r word about; do
        if [[ $word == /files ]]; then
            compset -P '--*='
            _files
            return
        fi
        found+=("${word//:/\\:}${about:+:$about}")
    done < <("$words[1]" completion words -- "${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)
    _describe pullet found
}
compdef _pullet pullet
[[ $funcstack[1] == _pullet ]] && _pullet "$@"
