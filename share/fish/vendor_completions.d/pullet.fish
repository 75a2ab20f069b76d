# fish completion for pullet. pullet itself finds the words.
function __pullet_words
    set -l words (commandline -opc)
    set -l current "$(commandline -ct)"
    set -l found ($words[1] completion words -- $words[2..] $current 2>/dev/null)
    if test "$found" = /files
        set -l option (string match -r -- '^--[^=]*=' $current)
        for path in (__fish_complete_path (string replace -- "$option" '' $current))
            echo "$option$path"
        end
    else
        printf '%s\n' $found
    end
end
complete -c pullet -f -a '(__pullet_words)'
