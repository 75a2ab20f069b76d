# bash completion for pullet. pullet itself finds the words.
_pullet() {
    local line=${COMP_LINE:0:COMP_POINT} words current breaks word
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[${#words[@]} - 1]}
    # readline replaces only what follows the last of its word breaks.
    breaks=${COMP_WORDBREAKS//[^=:]/}
    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        if [[ $word == /files ]]; then
            compopt -o default
            return
        fi
        COMPREPLY+=("${word#"${current%"${current##*[$breaks]}"}"}")
    done < <("$1" completion words -- "${words[@]:1}" 2>/dev/null)
}
complete -F _pullet pullet
