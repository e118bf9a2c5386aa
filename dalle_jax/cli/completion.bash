# Words come apart at `=` in bash. Without a reply it completes the names of files.
_dalle_jax() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    local verb="${COMP_WORDS[1]}" option= head= names= values= places= bare=
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 || $verb == help ]]; then
        COMPREPLY=($(compgen -W "VERBS" -- "$cur"))
        return
    fi
    case "$cur" in
        =) option="$prev" cur= ;;
        --*=*) option="${cur%%=*}" head="${cur%%=*}=" cur="${cur#*=}" ;;
        --*) ;;
        *)
            case "$prev" in
                =) option="${COMP_WORDS[COMP_CWORD-2]}" ;;
                --*) option="$prev" ;;
            esac ;;
    esac
    bare="${option#--}"
    [[ $option == --* ]] && option="--${bare//-/_}"
    case "$verb" in
CASES
    esac
    if [[ $option == "" && $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$names" -- "$cur"))
        [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2> /dev/null
        return
    fi
    [[ $option == "" ]] && values="$places"
    if [[ $cur == *,* ]]; then
        head="$head${cur%,*},"
        cur="${cur##*,}"
    fi
    COMPREPLY=($(compgen -P "$head" -W "$values" -- "$cur"))
}
complete -o default -F _dalle_jax dalle-jax
