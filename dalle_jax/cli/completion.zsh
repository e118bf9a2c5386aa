_dalle_jax() {
    local cur="$PREFIX" prev="${words[CURRENT-1]}" verb="${words[2]}"
    local option= names= values= places= bare=
    if (( CURRENT == 2 )) || [[ $verb == help ]]; then
        compadd -- VERBS
        return
    fi
    case "$cur" in
        --*=*) option="${cur%%=*}" && compset -P '*=' ;;
        --*) ;;
        *) [[ $prev == --* && $prev != *=* ]] && option="$prev" ;;
    esac
    bare="${option#--}"
    [[ $option == --* ]] && option="--${bare//-/_}"
    case "$verb" in
CASES
    esac
    if [[ $option == "" && $cur == -* ]]; then
        compadd -S '' -- ${(M)${=names}:#*=}
        compadd -- ${${=names}:#*=}
        return
    fi
    [[ $option == "" ]] && values="$places"
    if [[ $values == "" ]]; then
        _files
    else
        compset -P '*,'
        compadd -- ${=values}
    fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _dalle_jax dalle-jax
